//! Servers that die, wires that are cut, instances that vanish: what was acknowledged comes to its end.

mod commit;
mod postgres;
mod stop;
mod two;
