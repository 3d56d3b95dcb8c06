//! Every target over its seeds and the corpus that the fuzzer left behind: what was found once stays found, on every build.

mod corpus;
