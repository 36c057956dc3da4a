"""A folder that `install` puts on PYTHONPATH, so that Pythons started later install as well."""
