//! JSON bodies by family. Field names are the Java names.
