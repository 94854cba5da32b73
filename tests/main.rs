//! End-to-end suites per direction, and the rules of the workspace.
