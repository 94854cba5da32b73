//! Iceberg catalogs, schema mapping, row location and the commit kinds that the iceberg crate lacks.
