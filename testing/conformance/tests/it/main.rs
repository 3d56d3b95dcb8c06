//! A deliberately naive participant breaks each rule by the sin that is meant for it, and keeps them all without a sin.

mod files;
mod naive;
mod sins;
mod virtue;
