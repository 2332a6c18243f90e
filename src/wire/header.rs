//! Typed headers by family of request. Field names are the Java names.
