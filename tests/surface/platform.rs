//! What a platform may do to a program: stall its log, close its output, mount its secrets, set its environment.

use std::{
    fs,
    io::{Read, Write, pipe},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    process::{Child, Command, Stdio},
};

use crate::support::{Home, Service, gastank};

/// Bytes that a pipe of Linux holds unless told otherwise.
const PIPE: usize = 64 << 10;

/// A service whose ready line nobody can read, on a port that was free a moment ago. Ends when dropped.
struct Unheard {
    child: Child,
    admin: String,
}

impl Unheard {
    fn start(home: &Home, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let free = TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap().to_string();
        let any = "127.0.0.4:0".to_owned();
        let mut command = Service::command(home, &[any.clone(), any, free.clone()], &[]);
        Self { child: command.stdout(stdout).stderr(stderr).spawn().unwrap(), admin: format!("http://{free}") }
    }

    async fn is_ready(&self) -> bool {
        let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build().unwrap();
        for _ in 0..600 {
            let answer = client.get(format!("{}/health/ready", self.admin)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    /// Asks it to stop; its exit code, if it does in time.
    async fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        for _ in 0..300 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        None
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_reader_of_the_log_that_has_stalled_does_not_stop_the_service() {
    let home = Home::new();
    let (mut reader, mut writer) = pipe().unwrap();
    // Full: the first byte that is written to it waits for the reader.
    writer.write_all(&vec![b'.'; PIPE]).unwrap();
    let service = Unheard::start(&home, writer.try_clone().unwrap(), writer);
    assert!(service.is_ready().await, "it starts and answers");
    assert_eq!(service.stop().await, Some(0), "and stops in order");
    assert!(!home.data_dir().join("gastank.db-wal").exists(), "all is written");

    // What was said before the reader came back is in the pipe or lost; it is never the service that waits.
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read.len() >= PIPE);
}

#[tokio::test]
async fn a_log_that_is_read_late_is_whole() {
    let home = Home::new();
    let (mut reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'.'; PIPE]).unwrap();
    let service = Unheard::start(&home, Stdio::null(), writer);
    assert!(service.is_ready().await);
    let reading = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        String::from_utf8(read).unwrap()
    });
    assert_eq!(service.stop().await, Some(0));
    let log = reading.await.unwrap();
    for line in ["ready sessions=0", "draining", "stopped"] {
        assert!(log.contains(line), "{line}: {}", log.trim_start_matches('.'));
    }
}

#[tokio::test]
async fn output_that_nobody_takes_does_not_end_the_service() {
    let home = Home::new();
    let closed = || pipe().unwrap().1;
    let service = Unheard::start(&home, closed(), fs::File::create(home.log()).unwrap());
    assert!(service.is_ready().await, "{}", home.said());
    assert_eq!(service.stop().await, Some(0));
    assert!(home.said().contains("the ready line could not be written"), "{}", home.said());

    let service = Unheard::start(&home, closed(), closed());
    assert!(service.is_ready().await, "{}", home.said());
    assert_eq!(service.stop().await, Some(0));
}

#[test]
fn a_terminal_that_hangs_up_does_not_end_the_service() {
    let home = Home::new();
    let service = Service::start(&home);
    let told = Command::new("kill").args(["-HUP", &service.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(service.run(&["status"]).status.code(), Some(0));
    assert!(service.stop().success());
}

#[test]
fn a_pod_whose_service_is_named_like_it_starts_twice_on_a_volume_of_its_group() {
    let home = Home::new();
    let variables = [
        ("GASTANK_SERVICE_HOST", "10.96.0.17"),
        ("GASTANK_SERVICE_PORT_HTTP", "7080"),
        ("GASTANK_PORT", "tcp://10.96.0.17:7080"),
        ("GASTANK_PORT_7080_TCP_ADDR", "10.96.0.17"),
        ("GASTANK_TLS_CERT_FILE", ""),
        ("GASTANK_STORE", ""),
    ];
    assert!(Service::start_with(&home, &variables).stop().success());
    // As fsGroup does to a volume before each start.
    fs::set_permissions(home.data_dir(), fs::Permissions::from_mode(0o2770)).unwrap();
    for file in fs::read_dir(home.data_dir()).unwrap() {
        fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o660)).unwrap();
    }
    assert!(Service::start_with(&home, &variables).stop().success());
    let mut check = gastank();
    check.args(["serve", "--check"]).envs(variables);
    assert!(check.output().unwrap().status.success());
}

#[test]
fn the_service_manager_is_notified_once_the_service_is_ready() {
    let home = Home::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let service = Service::start_with(&home, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(std::str::from_utf8(&message[..length]).unwrap().trim(), "READY=1");
    assert!(service.stop().success());
}
