//! Trace records to readable formats.
