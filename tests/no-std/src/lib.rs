//! The wire format of gastank without `std` and without `alloc`.
//!
//! That this builds for the host proves that the source names nothing outside `core`. That it links for a target
//! that has no operating system proves the same of its dependencies: there is no allocator there, and a crate that
//! wants one does not link.
//!
//! ```text
//! cargo check -p wire-no-std
//! rustup target add x86_64-unknown-none
//! cargo rustc -p wire-no-std --target x86_64-unknown-none --crate-type staticlib
//! ```

#![no_std]
#![forbid(unsafe_code)]

/// Instants and spans, which frames are made of.
#[path = "../../../src/time/units.rs"]
pub mod time;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;

#[cfg(target_os = "none")]
#[panic_handler]
fn halt(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
