// tests/end_to_end/other_users.h -- the real program in a mount namespace of its own, with accounts, sudoers
// and PAM made for the run. The machine's own files are never changed.
#pragma once

#include <sys/stat.h>

#include <filesystem>

#include "tests/end_to_end/program.h"
#include "tests/support/not_tested.h"
#include "tests/support/sshd.h"

namespace banyan::test {

// Nobody else's, not even those of this test where it runs beside itself: who is left is found by them.
inline const uid_t kAnn = 200'000 + 2 * uid_t(::getpid()), kDb = kAnn + 1;
constexpr const char* kUsualSudoers =
    "Defaults env_reset, use_pty\nroot ALL=(ALL) ALL\nann ALL=(db, nosuch) NOPASSWD: ALL\n";

constexpr const char* kBecomePassword = "geheimes Wort";
constexpr const char* kBecomeHash =  // of that, as a here-document of the shell takes it
    "\\$6\\$banyan\\$rUqPhuB7LQ.uOYSJcKKc4tOwhjwVH129YnyH2tIewhMYaVvdoV/MpV1FM0ttgMkwGFpDbnlNdf2NU/nh4yeNx0";

inline std::string find_sudo() {
  for (const char* path : {"/usr/bin/sudo", "/usr/local/bin/sudo"})
    if (::access(path, X_OK) == 0) return path;
  return "";
}

inline bool has_sudo() {
  if (!find_sudo().empty()) return true;
  not_tested("sudo", "there is no sudo (Debian: sudo)");
  return false;
}

// Where the program runs: the accounts ann and db with homes of their own, and what sudo is told.
struct World {
  std::string user = "ann";  // who runs it; "root": we ourselves
  std::string sudoers = kUsualSudoers;
  std::string auth = "auth required pam_unix.so\n";  // how PAM lets somebody in
  std::string account = "pam_unix.so";               // what it asks whether the accounts are good
  bool have_passwords = false;                       // ann and db: kBecomePassword
  std::string answer = {};         // of a person who is asked; what she is asked is on standard error
  std::string setup = {};          // shell lines, as root, with $sudo
  std::string folder = "/";        // where it is run
  std::string inherited = "-all";  // capabilities, as setpriv takes them
  std::string setpriv = {};        // more options of that program
  std::string path = {};           // PATH of the program; empty: ours

  // Words that run what follows them there.
  Words starter() const {
    const auto file = [](std::string_view name, std::string_view lines) {
      return cat("cat >/mnt/etc/", name, " <<END\n", lines, "END\n");
    };
    std::string script = cat("ann=", kAnn, " db=", kDb, "\n");
    script +=
        "umask 022\nsudo=$1\nshift\n"
        "mount -t tmpfs -o mode=755 none /mnt\nmkdir /mnt/etc /mnt/bin\n"
        "mkdir -m 700 /mnt/ann /mnt/db\nchown $ann:$ann /mnt/ann\nchown $db:$db /mnt/db\n"
        "mount --bind \"${1%/*}\" /mnt/bin\n";
    script += file("passwd", "ann:x:$ann:$ann::/mnt/ann:/bin/sh\ndb:x:$db:$db::/mnt/db:/bin/sh\n");
    script += file("group", "ann:x:$ann:\ndb:x:$db:\n");
    const std::string hash = have_passwords ? kBecomeHash : "*";
    script += file("shadow", cat("ann:", hash, ":19000:0:99999:7:::\ndb:", hash, ":19000:0:99999:7:::\n"));
    script +=
        "for name in passwd group shadow; do cat /etc/$name >>/mnt/etc/$name; done\n"
        "chmod 600 /mnt/etc/shadow\n";
    script += file("sudoers", sudoers);
    script += file("pam", cat(auth, "account required ", account, "\nsession required pam_permit.so\n"));
    script +=
        "chmod 440 /mnt/etc/sudoers\n"
        "for name in passwd group shadow sudoers; do mount --bind /mnt/etc/$name /etc/$name; done\n"
        "mount --bind /mnt/etc/pam /etc/pam.d/sudo\n"
        // What sudo remembers is not the machine's either.
        "for kept in /run/sudo /var/lib/sudo; do [ ! -d $kept ] || mount -t tmpfs -o mode=711 none $kept; "
        "done\n";
    script += cat("printf '#!/bin/sh\\necho \"asked: $1\" >&2\\ntest -n \"", answer, "\" && echo \"", answer,
                  "\"\\n' >/mnt/person\nchmod 755 /mnt/person\n");
    script +=
        cat(setup, "\ncd ", folder, "\n", "program=/mnt/bin/${1##*/}\n[ -x $program ] || program=$1\nshift\n",
            "unset XDG_RUNTIME_DIR TMPDIR LC_ALL\n");
    if (user != "root") script += "export HOME=/mnt/ann USER=ann LOGNAME=ann\n";
    const std::string by = user == "root" ? "" : "--reuid=$ann --regid=$ann --clear-groups ";
    const std::string with = path.empty() ? "" : cat("env PATH=", path, " ");
    script += cat("exec setpriv --inh-caps=", inherited, " ", by, setpriv, " ", with, "$program \"$@\"\n");
    return {"unshare", "-m", "sh", "-ec", script, "sh", find_sudo()};
  }
};

inline Finished run_in(const World& world, const Words& arguments, std::string_view input = {},
                       const Words& environment = {}) {
  ::signal(SIGPIPE, SIG_IGN);
  Program program(arguments, Program::Shape::kPipes, environment, world.starter());
  return program.finish(input);
}

// Processes of a user that nobody else is.
inline std::vector<pid_t> processes_of(uid_t user) {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    struct stat status = {};
    if (pid > 0 && ::stat(entry.path().c_str(), &status) == 0 && status.st_uid == user && is_running(pid))
      found.push_back(pid);
  }
  return found;
}

inline bool nobody_is_left() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!processes_of(kAnn).empty() || !processes_of(kDb).empty()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 10);
  }
  return true;
}

inline bool can_test() {
  return has_sudo() && has_namespaces();
}

}  // namespace banyan::test
