"""From files to daily cubes to windows; never imports `utils`."""
