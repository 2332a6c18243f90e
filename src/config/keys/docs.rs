//! Writes `docs/configuration.md` from the tables.
