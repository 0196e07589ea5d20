//! Container images: pull, verify, unpack, store, garbage collection.
#![forbid(unsafe_code)]
