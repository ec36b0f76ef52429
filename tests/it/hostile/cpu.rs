//! CPU that depends on a caller's text is bounded and stays off the writer and the runtime.
