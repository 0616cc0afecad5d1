// tests/end_to_end/questions.h -- a server that asks for passwords, and a program that answers for a person.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/end_to_end/ssh.h"

namespace banyan::test {

constexpr const char* kPassword = "correct horse";

// ann and bob have it; old's has expired.
inline Sshd::Options with_passwords(const std::string& client_lines = "PreferredAuthentications password\n") {
  return {.client_lines = client_lines,
          .accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword},
                       {.name = "bob", .shell = "/bin/sh", .password = kPassword},
                       {.name = "old", .shell = "/bin/sh", .password = kPassword, .has_expired = true}},
          .pam = Sshd::kUsualPam};
}

// A program that answers, or with nothing to answer says no; what it was asked is in the file "asked" beside
// it.
inline std::string askpass_that_says(const Sshd& server, const std::string& answer) {
  const std::string file = server.folder() + "/askpass";
  std::ofstream(file) << "#!/bin/sh\nprintf '%s\\n' \"$1\" >>" << server.folder() << "/asked\n"
                      << "test -n '" << answer << "' || exit 1\necho '" << answer << "'\n";
  ::chmod(file.c_str(), 0700);
  return file;
}

// The environment in which it is asked.
inline Words asking_with(const std::string& program) {
  return {"SSH_ASKPASS=" + program, "SSH_ASKPASS_REQUIRE=force"};
}

// A key file beside the server's; `options`: what ssh-keygen is told of its kind.
inline std::string make_key(const Sshd& server, const std::string& name, const std::string& options,
                            const std::string& passphrase) {
  const std::string file = cat(server.folder(), "/id_", name);
  const std::string line = cat("exec ssh-keygen -q -a 2 -C '' ", options, " -N '", passphrase, "' -f ", file);
  REQUIRE(std::system(line.c_str()) == 0);
  return file;
}
inline void let_in(const Sshd& server, const std::string& key) {
  std::ofstream(server.folder() + "/authorized_keys", std::ios::app) << read_file(key + ".pub");
}

}  // namespace banyan::test
