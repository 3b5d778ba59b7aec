//! PCR and policy digests computed in software: what an image will measure, what a blob demands.
