//! arm64 (AArch64, A64 only).
