//! What archives want to know of the machine.

#[path = "../../applets/system/clock.rs"]
pub mod clock;
#[path = "../../applets/system/processes.rs"]
pub mod processes;
