//! Pulls that are interrupted, and pulls of the same image at the same time.
