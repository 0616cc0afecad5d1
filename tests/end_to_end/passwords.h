// tests/end_to_end/passwords.h -- a world in which becoming another user takes a password, and a person who
// knows it.
#pragma once

#include "tests/end_to_end/other_users.h"

namespace banyan::test {

constexpr const char* kWants = "Defaults env_reset, use_pty\nann ALL=(ALL) ALL\n";
inline const Words kPerson = {"SSH_ASKPASS=/mnt/person", "SSH_ASKPASS_REQUIRE=force"};

class TemporaryFolder {
 public:
  TemporaryFolder() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/banyan-tried-XXXXXX";
};

// Where sudo wants ann's password, which the person says. What PAM is given is in "tried", in that folder.
struct Scene {
  TemporaryFolder folder;
  World world;
  Scene() {
    world.sudoers = kWants;
    world.have_passwords = true;
    world.answer = kBecomePassword;
    world.auth =
        "auth optional pam_exec.so expose_authtok quiet seteuid /mnt/note\nauth required pam_unix.so "
        "try_first_pass\n";
    world.setup = cat("printf '#!/bin/sh\\ntr -d \"\\\\0\" >>", folder.path(), "/tried; echo >>",
                      folder.path(), "/tried\\n' >/mnt/note\nchmod 755 /mnt/note\n");
  }
  Finished run(const Words& arguments, const Words& environment = kPerson) const {
    return run_in(world, arguments, {}, environment);
  }
  std::vector<std::string> tried() const { return lines_of(read_file(folder.path() + "/tried")); }
};

// A sudo, or so, that says what it likes, first in PATH.
inline void stand_in(World& world, const std::string& script, const std::string& name = "sudo") {
  world.setup += cat("mkdir -p /mnt/first\ncat >/mnt/first/", name, " <<'END'\n#!/bin/sh\n", script,
                     "\nEND\nchmod 755 /mnt/first/", name, "\n");
  world.path = cat("/mnt/first:", std::string_view(std::getenv("PATH")));
}
// What is left of its arguments is what sudo is to run.
constexpr const char* kSkipOptions = "while [ \"$1\" != -- ]; do shift; done; shift\n";

}  // namespace banyan::test
