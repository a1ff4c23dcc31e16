//! What a VM can order another that its manifest lets it control
//! ([`VmControl`](crate::hypercall::Function::VmControl)).

/// Nothing: asks how often the VM was started, modulo 2¹⁶; 0 if it does not run.
pub const STATE: u32 = 0;
/// Start from its image, if it is off.
pub const START: u32 = 1;
/// End the run.
pub const STOP: u32 = 2;
/// End the run if there is one, and start from the image.
pub const RESTART: u32 = 3;
/// Do not run until another order comes.
pub const PAUSE: u32 = 4;
/// Go on.
pub const RESUME: u32 = 5;
/// Nothing: asks what befell the VM last, as a record of [`health`](crate::health); 0 if nothing.
pub const EVENT: u32 = 6;
