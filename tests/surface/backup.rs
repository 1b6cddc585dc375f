//! A backup while the service runs, put back elsewhere: nothing that was paid for is lost. What docs/operations.md says to
//! type is what is typed.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gastank::wire::HeartbeatKind;
use rusqlite::Connection;

use crate::{
    client::Api,
    support::{Home, Service, gastank},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

/// The shell commands of a section of docs/operations.md, by the heading.
fn commands_under(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands: String = blocks.collect();
    assert!(commands.contains("gastank "), "{heading}: {commands}");
    commands
}

/// Types commands as they are documented, with other directories. There is no systemd here.
fn typed(commands: &str, data_dir: &Path, backups: &Path) -> Output {
    let commands = commands
        .replace("/var/lib/private/gastank", data_dir.to_str().unwrap())
        .replace("/backup", backups.to_str().unwrap());
    let program = PathBuf::from(gastank().get_program());
    let path = format!("{}:{}", program.parent().unwrap().display(), env::var("PATH").unwrap());
    let script = format!("systemctl() {{ :; }}\n{commands}");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-u", "-c", &script]).env("PATH", path);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GASTANK_")) {
        shell.env_remove(name);
    }
    shell.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(arguments: &[&str], data_dir: &Path, backup: &Path) -> (Option<i32>, String) {
    let output = gastank().args(arguments).arg("--data-dir").arg(data_dir).arg(backup).output().unwrap();
    (output.status.code(), said(&output))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_says_to_type_loses_nothing_that_was_there_at_the_backup() {
    let (home, elsewhere) = (Home::new(), tempfile::tempdir().unwrap());
    fs::create_dir_all(home.data_dir()).unwrap();
    fs::write(home.data_dir().join("hooks.secrets"), SECRET).unwrap();
    fs::set_permissions(home.data_dir().join("hooks.secrets"), fs::Permissions::from_mode(0o600)).unwrap();
    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let owner = api.owner(1000).await;
    let mut session = api.open(&owner).await;
    session.posted(&api, HeartbeatKind::Beat).await.unwrap();
    let keys = fs::read_to_string(home.data_dir().join("cluster.secret")).unwrap();

    // Somebody pays all the while: what was answered before the backup began is in it.
    let paying = async {
        for number in 0..50 {
            api.credit(&owner.account, &format!("during-{number}"), 1).await.unwrap().must_be(200);
        }
    };
    let (commands, data_dir, backups) = (commands_under("## Backup"), home.data_dir(), elsewhere.path().to_owned());
    let typing = tokio::task::spawn_blocking(move || typed(&commands, &data_dir, &backups));
    let (output, ()) = tokio::join!(typing, paying);
    let output = output.unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let backup = fs::read_dir(elsewhere.path()).unwrap().next().unwrap().unwrap().path();
    for name in ["gastank.db", "cluster.secret", "admin.token", "hooks.secrets", "development.pem", "manifest.json"] {
        let mode = fs::metadata(backup.join(name)).unwrap_or_else(|_| panic!("{name} is missing")).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let lost = api.owner(5).await;

    assert!(service.stop().success());
    let output = typed(&commands_under("## Restore"), &home.data_dir(), elsewhere.path());
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(home.data_dir().join("hooks.secrets")).unwrap(), SECRET);
    assert_eq!(fs::read_to_string(home.data_dir().join("cluster.secret")).unwrap(), keys);

    let service = Service::start(&home);
    let api = Api::new(&service, &home);
    let ledger = api.ledger(&owner.account).await;
    assert!(ledger.len() <= 51 && ledger.iter().any(|entry| entry["amount_ms"] == 1_000_000), "{ledger:?}");
    assert!(session.posted(&api, HeartbeatKind::Beat).await.is_some(), "its client's frames verify");
    api.open(&owner).await;
    let gone = api.credit(&lost.account, "later", 5).await.unwrap();
    assert_eq!(gone.status, 404, "it came after the backup");
    // A shop that repeats its credit loses nothing and credits nobody twice.
    for number in 0..50 {
        api.credit(&owner.account, &format!("during-{number}"), 1).await.unwrap().must_be(200);
    }
    let seconds = |entry: &serde_json::Value| entry["amount_ms"] == 1000;
    assert_eq!(api.ledger(&owner.account).await.iter().filter(|entry| seconds(entry)).count(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_in_place_of_something_else_and_nothing_that_was_altered_is_put_back() {
    let (home, elsewhere) = (Home::new(), tempfile::tempdir().unwrap());
    let backup = elsewhere.path().join("made");
    let (code, text) = run(&["backup"], &home.data_dir(), &backup);
    assert_eq!(code, Some(1));
    assert!(text.contains("there is no data file at") && text.contains("--data-dir"), "{text}");
    assert!(!backup.exists());

    let service = Service::start(&home);
    let (code, text) = run(&["backup"], &home.data_dir(), &backup);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Backup made and checked"), "{text}");
    let (code, text) = run(&["backup"], &home.data_dir(), &backup);
    assert!(code == Some(1) && text.contains("is not empty"), "{text}");
    let (code, text) = run(&["restore"], &home.data_dir(), &backup);
    assert!(code == Some(1) && text.contains("a gastank is running on"), "{text}");
    assert!(service.stop().success());
    let (code, text) = run(&["restore"], &home.data_dir(), &backup);
    assert!(code == Some(1) && text.contains("is not empty") && text.contains("move away"), "{text}");

    let target = elsewhere.path().join("restored");
    let with = |change: &dyn Fn(&Path)| {
        let altered = elsewhere.path().join("altered");
        fs::create_dir(&altered).unwrap();
        for file in fs::read_dir(&backup).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), altered.join(file.file_name())).unwrap();
        }
        change(&altered);
        let (code, text) = run(&["restore"], &target, &altered);
        fs::remove_dir_all(&altered).unwrap();
        assert_eq!(code, Some(1), "{text}");
        assert!(!target.exists(), "{text}");
        text
    };
    let manifest = |dir: &Path, from: &str, to: &str| {
        let path = dir.join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    assert!(with(&|dir| fs::remove_file(dir.join("manifest.json")).unwrap()).contains("it is no backup"));
    assert!(with(&|dir| fs::remove_file(dir.join("cluster.secret")).unwrap()).contains("cluster.secret"));
    assert!(with(&|dir| fs::write(dir.join("cluster.secret"), "0 x").unwrap()).contains("use another backup"));
    assert!(with(&|dir| manifest(dir, "\"backup_format\": 1", "\"backup_format\": 9")).contains("newer gastank"));
    assert!(with(&|dir| manifest(dir, "\"admin.token\"", "\"../x\"")).contains("no file of a backup"));
    let newer = |dir: &Path| {
        let conn = Connection::open(dir.join("gastank.db")).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        conn.close().unwrap();
        let sum = |path: &Path| {
            let sum = Command::new("sha256sum").arg(path).output().unwrap().stdout;
            String::from_utf8(sum).unwrap()[..64].to_owned()
        };
        manifest(dir, &sum(&backup.join("gastank.db")), &sum(&dir.join("gastank.db")));
    };
    let text = with(&newer);
    assert!(text.contains("has data format 99") && text.contains("run the newer gastank"), "{text}");

    // No file may be larger than 8 KiB. Told so, a restore removes what it has made; killed by it, it leaves what does not start.
    let limited = |script: &str| {
        let script = format!("{script} ulimit -f 8; exec \"$0\" restore --data-dir \"$1\" \"$2\"");
        let program = PathBuf::from(gastank().get_program());
        let output = Command::new("sh").args(["-c", &script]).arg(program).arg(&target).arg(&backup).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        said(&output)
    };
    let text = limited("trap '' XFSZ;");
    assert!(text.contains("gastank.restoring"), "{text}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{text}");
    limited("");
    let output = gastank().args(["serve", "--check", "--data-dir"]).arg(&target).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("a restore was interrupted"), "{}", said(&output));
    fs::remove_dir_all(&target).unwrap();

    let (code, text) = run(&["restore"], &target, &backup);
    assert_eq!(code, Some(0), "{text}");
    assert!(!target.join("gastank.restoring").exists());
}
