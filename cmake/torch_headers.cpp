// Compiled once: it carries the precompiled header of all targets that use LibTorch.
