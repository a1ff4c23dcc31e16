//! The manifest model: spans, checks, layout.
