//! What every listener shares and that knows no domain. A leaf: it imports [`peer`](crate::peer) and nothing above it.

pub mod admission;
