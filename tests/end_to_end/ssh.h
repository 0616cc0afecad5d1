// tests/end_to_end/ssh.h -- banyan over a server of the test's own: words, events, and who is who over there.
#pragma once

#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"
#include "tests/support/slack.h"
#include "tests/support/sshd.h"

namespace banyan::test {

// Who speaks SSH: the system's ssh, or libssh2 in a connector.
constexpr const char* kBackEnds[] = {"openssh", "libssh2"};

inline Words over(const Sshd& server, const std::string& targets, const Words& rest,
                  const std::string& back_end = "openssh") {
  Words words = {"run", "--ssh", back_end, "-F", server.client_config(), targets};
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

inline std::vector<nlohmann::json> events_of(const std::string& out) {
  std::vector<nlohmann::json> events;
  for (const std::string& line : lines_of(out)) events.push_back(nlohmann::json::parse(line));
  return events;
}

// The one event of that name; null when there is none, or more than one.
inline nlohmann::json the_event(const std::string& out, std::string_view name) {
  nlohmann::json found;
  for (const nlohmann::json& event : events_of(out)) {
    if (event.value("event", "") != name) continue;
    if (!found.is_null()) return nullptr;
    found = event;
  }
  return found;
}

// How a run of one target is to fail before anything has begun there.
struct Failing {
  std::string phases, classes;  // with blanks between: one of them
  std::string said = "";        // in the error
  std::string remedy = "";      // in the remedy, which there is in any case
  double seconds = 20;          // on an idle machine
};
inline void check_failed(const Finished& got, const Failing& expected) {
  CHECK(got.code == 255);
  CHECK(got.err == "");
  CHECK(got.seconds < expected.seconds + kSlack);
  const nlohmann::json fail = the_event(got.out, "fail");
  REQUIRE(fail.is_object());
  CHECK(contains(expected.phases, fail["phase"].get<std::string>()));
  CHECK(contains(expected.classes, fail["class"].get<std::string>()));
  CHECK(fail["started"] == "no");
  CHECK(contains(fail["error"].get<std::string>(), expected.said));
  CHECK(fail["error"].get<std::string>().size() < 1000);
  REQUIRE(fail["remedy"].is_string());
  CHECK(contains(fail["remedy"].get<std::string>(), expected.remedy));
}

// The one process of that name that carries the mark; -1 when there is none, or more than one.
inline pid_t marked(const std::string& mark, const std::string& name) {
  pid_t found = -1;
  for (pid_t pid : processes_marked(mark)) {
    if (read_file(cat("/proc/", pid, "/comm")) != name + "\n") continue;
    if (found > 0) return -1;
    found = pid;
  }
  return found;
}

// Of a line as in known_hosts or an id_*.pub.
inline std::string fingerprint_of(const std::string& key_line, const Sshd& server) {
  const std::string file = server.folder() + "/one_key", out = server.folder() + "/one_fingerprint";
  std::ofstream(file) << key_line << "\n";
  REQUIRE(std::system(cat("ssh-keygen -lf '", file, "' | cut -d' ' -f2 >'", out, "'").c_str()) == 0);
  const std::string text = read_file(out);
  return text.substr(0, text.find('\n'));
}

// As uname -m would say it on a machine whose programs do not run here.
inline std::string other_architecture() {
  utsname name{};
  ::uname(&name);
  return std::string_view(name.machine) == "aarch64" ? "x86_64" : "aarch64";
}

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace banyan::test
