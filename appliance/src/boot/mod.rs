//! What happens once, in order, before the port opens.
