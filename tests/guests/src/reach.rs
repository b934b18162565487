//! Guests that reach outside: environment, files, network.

use crate::bindings::wasi::cli::environment::get_environment;
use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{self as http, Fields, OutgoingRequest, ResponseOutparam, Scheme};
use crate::bindings::wasi::sockets::instance_network::instance_network;
use crate::bindings::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::bindings::wasi::sockets::network::{self, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use crate::bindings::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::http::{Request, answer};

/// Its whole environment, a variable a line.
pub(crate) fn environment(out: ResponseOutparam) {
    let lines: Vec<_> = get_environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    answer(out, 200, lines.join("\n").as_bytes());
}

/// The folders that it was given, one a line.
pub(crate) fn list(out: ResponseOutparam) {
    let mounts: Vec<_> = get_directories().into_iter().map(|(_, path)| path).collect();
    answer(out, 200, mounts.join("\n").as_bytes());
}

/// The file `path` within the folder `mount`. `path` goes to the host as it is.
pub(crate) fn read(request: &Request, out: ResponseOutparam) {
    let (mount, path) = (mount(request), request.text("path").unwrap_or_default());
    let open = || mount?.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ);
    match open().and_then(|file| file.read(64 << 10, 0)) {
        Ok((bytes, _)) => answer(out, 200, &bytes),
        Err(code) => answer(out, 403, code.name().as_bytes()),
    }
}

/// Spin's file server in short: it panics where the host does not tell it its route, and its files are in `/`.
pub(crate) fn file_server(request: &Request, out: ResponseOutparam) {
    let told = |name| String::from_utf8(request.header(name)).expect("a route is text");
    assert_eq!(told("spin-component-route"), "/static", "the host must set it");
    let path = told("spin-path-info");
    let name = match path.trim_matches('/') {
        "" => "index.html",
        name => name,
    };
    let root = get_directories().into_iter().find(|(_, path)| path == "/").expect("a folder at /").0;
    let open = root.open_at(PathFlags::SYMLINK_FOLLOW, name, OpenFlags::empty(), DescriptorFlags::READ);
    match open.and_then(|file| file.read(64 << 10, 0)) {
        Ok((bytes, _)) => answer(out, 200, &bytes),
        Err(code) => answer(out, 404, code.name().as_bytes()),
    }
}

/// Tries to change something at `path` within `mount`, the way that `how` says.
pub(crate) fn write(request: &Request, out: ResponseOutparam) {
    let (mount, path) = (mount(request), request.text("path").unwrap_or_default());
    match mount.and_then(|mount| change(&mount, path, request.text("how").unwrap_or_default())) {
        Ok(()) => answer(out, 200, b"changed"),
        Err(code) => answer(out, 403, code.name().as_bytes()),
    }
}

fn change(mount: &Descriptor, path: &str, how: &str) -> Result<(), ErrorCode> {
    let open = |open, flags| mount.open_at(PathFlags::SYMLINK_FOLLOW, path, open, flags);
    match how {
        "create" => open(OpenFlags::CREATE, DescriptorFlags::READ | DescriptorFlags::WRITE).map(drop),
        "truncate" => open(OpenFlags::TRUNCATE, DescriptorFlags::READ).map(drop),
        "overwrite" => {
            open(OpenFlags::empty(), DescriptorFlags::WRITE).and_then(|file| file.write(b"changed", 0)).map(drop)
        }
        "write-to-read" => {
            open(OpenFlags::empty(), DescriptorFlags::READ).and_then(|file| file.write(b"changed", 0)).map(drop)
        }
        "resize" => open(OpenFlags::empty(), DescriptorFlags::READ).and_then(|file| file.set_size(1)),
        "unlink" => mount.unlink_file_at(path),
        "rename" => mount.rename_at(path, mount, "renamed"),
        "link" => mount.link_at(PathFlags::empty(), path, mount, "linked"),
        "symlink" => mount.symlink_at("/etc", path),
        "mkdir" => mount.create_directory_at(path),
        _ => panic!("how={how}?"),
    }
}

fn mount(request: &Request) -> Result<Descriptor, ErrorCode> {
    let wanted = request.text("mount").unwrap_or_default();
    get_directories().into_iter().find(|(_, path)| path == wanted).map(|(folder, _)| folder).ok_or(ErrorCode::NoEntry)
}

/// Tries to reach 127.0.0.1:`port` in each way there is, and says what became of each, a line each.
pub(crate) fn connect(request: &Request, out: ResponseOutparam) {
    let port = request.number("port").unwrap_or(0);
    let text =
        format!("http: {:?}\ntcp: {:?}\nname: {:?}", http_get(port).err(), tcp_connect(port).err(), resolve().err());
    answer(out, 200, text.as_bytes());
}

fn http_get(port: u16) -> Result<(), http::ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("http is a scheme");
    request.set_authority(Some(&format!("127.0.0.1:{port}"))).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let response = outgoing_handler::handle(request, None)?;
    response.subscribe().block();
    response.get().expect("it is ready").expect("it is taken once").map(drop)
}

fn tcp_connect(port: u16) -> Result<(), network::ErrorCode> {
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    create_tcp_socket(IpAddressFamily::Ipv4)?.start_connect(&instance_network(), address)
}

fn resolve() -> Result<(), network::ErrorCode> {
    resolve_addresses(&instance_network(), "localhost").map(drop)
}
