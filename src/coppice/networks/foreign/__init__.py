"""Importers: one file per foreign format, each returns an :class:`coppice.networks.foreign.imported.Imported`."""
