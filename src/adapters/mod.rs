//! Everything that names a framework: one folder for each.

pub mod dfdx;
