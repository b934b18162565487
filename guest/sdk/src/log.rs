//! The function's log: its standard error, which every host has.

/// Writes a line to the log. modelfn shows it with the id of the request.
///
/// ```no_run
/// modelfn_guest::log!("{} rows", 3);
/// ```
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::write_line(::core::format_args!($($argument)*))
    };
}

/// Writes a line to the log. [`log!`](crate::log!) calls this.
#[doc(hidden)]
#[expect(clippy::print_stderr, reason = "a function's log is its standard error")]
pub fn write_line(line: std::fmt::Arguments<'_>) {
    eprintln!("{line}");
}
