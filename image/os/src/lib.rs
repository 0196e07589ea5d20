//! The OS image: initramfs, EROFS root, UKI, GPT disk, A/B slots; one source of truth for the layout.
#![forbid(unsafe_code)]
