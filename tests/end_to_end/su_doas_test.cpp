// Goal: su and doas make another user as sudo does, with a password typed where they ask for it, once, and
// given to nothing that only looks like a question; and -b means that for every target. Method: the real
// program and the real su and doas, with accounts and PAM of their own in a copy of /etc; stand-ins that
// speak another language, or lie.
#include <nlohmann/json.hpp>

#include "tests/end_to_end/passwords.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// As Scene, for su and doas: of the latter what its configuration permits.
struct OtherScene : Scene {
  explicit OtherScene(const std::string& permits = "permit ann as db", const std::string& su_lines = "") {
    world.setup += cat("cp -a /etc /mnt/all\nprintf '", permits,
                       "\\n' >/mnt/all/doas.conf\nchmod 400 /mnt/all/doas.conf\ncp /mnt/etc/pam "
                       "/mnt/all/pam.d/doas\n{ printf '",
                       su_lines, "'; cat /mnt/etc/pam; } >/mnt/all/pam.d/su\nmount --bind /mnt/all /etc\n");
  }
};

bool has(const std::string& method) {
  if (method == "su" || std::system("command -v doas >/dev/null") == 0) return true;
  not_tested("doas", "there is no doas (Debian: opendoas)");
  return false;
}

const char* whose(const std::string& method) {
  return method == "su" ? "db" : "ann";
}

}  // namespace

TEST_CASE("su and doas are given the password they ask for, once, here and beneath a hop") {
  if (!can_test()) return;
  for (const std::string method : {"su", "doas"}) {
    if (!has(method)) continue;
    for (const char* hop : {"", "local/", "local/local/"}) {
      CAPTURE(method, hop);
      const OtherScene scene;
      const Finished got = scene.run({"run", cat(hop, method, ":db"), "--sh", "id -un; pwd; exit 3"});
      CAPTURE(got.err);
      CHECK(got.code == 3);
      CHECK(got.out == "db\n/\n");
      CHECK(got.err ==
            cat("asked: [", method, "] password of ", whose(method), " for ", hop, method, ":db: \n"));
      CHECK(scene.tried() == std::vector<std::string>{kBecomePassword});
      CHECK(nobody_is_left());
    }
  }
}

TEST_CASE("a megabyte goes through su and doas and back as it was") {
  if (!can_test()) return;
  const std::string bytes = random_bytes(1 << 20);
  for (const std::string method : {"su", "doas"}) {
    if (!has(method)) continue;
    CAPTURE(method);
    const OtherScene scene;
    const Finished got = run_in(scene.world, {"run", cat(method, ":db"), "--", "cat"}, bytes, kPerson);
    CHECK(got.code == 0);
    CHECK((got.out == bytes));
  }
  CHECK(nobody_is_left());
}

TEST_CASE("a wrong password for su or doas is tried once, and not on those that come after") {
  if (!can_test()) return;
  for (const std::string method : {"su", "doas"}) {
    if (!has(method)) continue;
    CAPTURE(method);
    OtherScene scene;
    scene.world.answer = "falsch";
    const Finished got = scene.run({"run", cat("local[1-2]/", method, ":db"), "--json", "--", "true"});
    CAPTURE(got.err, got.out);
    CHECK(got.code == 4);
    const nlohmann::json fail = nlohmann::json::parse(lines_of(got.out).at(0));
    CHECK(fail.at("phase") == "become");
    CHECK(fail.at("class") == "auth");
    CHECK(contains(got.out, "the password was refused\""));
    CHECK(contains(got.out, "so it is not tried here"));
    CHECK(count_of(got.err, "asked: ") == 1);
    CHECK(scene.tried() == std::vector<std::string>{"falsch"});
    CHECK(nobody_is_left());
  }
}

TEST_CASE("where su and doas want no password nobody is asked") {
  if (!can_test()) return;
  const OtherScene by_root("permit nopass ann as db", "auth sufficient pam_permit.so\\n");
  for (const std::string method : {"su", "doas"}) {
    if (!has(method)) continue;
    CAPTURE(method);
    for (const Words& environment : {kPerson, Words()}) {
      const Finished got = by_root.run({"run", cat(method, ":db"), "--", "id", "-un"}, environment);
      CHECK(got.out == "db\n");
      CHECK(got.err == "");
    }
  }
}

TEST_CASE("where su or doas says no, or nobody can be asked, that is told in phase become") {
  if (!can_test()) return;
  struct Row {
    const char* target;
    bool has_person;
    const char* error_class;
    const char* error;
  };
  const Row table[] = {
      {"su:nosuch", true, "refused", "nosuch"},
      {"su:db", false, "auth", "there is nobody to ask"},
      {"doas:nosuch", true, "refused", "unknown user"},
      {"doas:db", false, "auth", "uthentication required"},
      {"doas", true, "refused", "Operation not permitted"},
  };
  for (const Row& row : table) {
    if (!has(std::string(row.target).substr(0, 2) == "su" ? "su" : "doas")) continue;
    for (const char* hop : {"", "local/"}) {
      CAPTURE(row.target, row.has_person, hop);
      const OtherScene scene;
      const Finished got = scene.run({"run", cat(hop, row.target), "--json", "--", "true"},
                                     row.has_person ? kPerson : Words());
      CAPTURE(got.out, got.err);
      CHECK(got.code == 255);
      const nlohmann::json fail = nlohmann::json::parse(lines_of(got.out).at(0));
      CHECK(fail.at("phase") == "become");
      CHECK(fail.at("class") == row.error_class);
      CHECK(contains(fail.at("error"), row.error));
      CHECK(fail.at("remedy").is_string());
      CHECK(scene.tried().empty());
    }
  }
  CHECK(nobody_is_left());
}

TEST_CASE("Ctrl-C while a person is asked for su or doas ends all of it") {
  if (!can_test()) return;
  for (const std::string method : {"su", "doas"}) {
    if (!has(method)) continue;
    CAPTURE(method);
    OtherScene scene;
    scene.world.setup +=
        "printf '#!/bin/sh\\necho asked >&2\\nexec sleep 1000\\n' >/mnt/thinks\nchmod 755 /mnt/thinks\n";
    Program program({"run", cat("local/", method, ":db"), "--", "id", "-un"}, Program::Shape::kPipes,
                    {"SSH_ASKPASS=/mnt/thinks", "SSH_ASKPASS_REQUIRE=force"}, scene.world.starter());
    REQUIRE(program.wait_for_error("asked"));
    program.signal(SIGINT);
    CHECK(program.finish().code == 130);
    CHECK(scene.tried().empty());
    CHECK(nobody_is_left());
  }
}

TEST_CASE(
    "a su that asks in another language is answered; what is only printed, on any of its ways, is not") {
  if (!can_test()) return;
  const std::string run = "\nexec \"$2\" \"$3\" \"$4\"\n";
  OtherScene asks;
  stand_in(asks.world,
           cat("stty -echo; printf 'Mot de passe : ' >/dev/tty; read -r said; stty echo\n[ \"$said\" = '",
               kBecomePassword, "' ] || exit 1", run),
           "su");
  const Finished asked = asks.run({"run", "local/su:ann", "--", "id", "-un"});
  CAPTURE(asked.err);
  CHECK(asked.out == "ann\n");
  CHECK(count_of(asked.err, "asked: ") == 1);

  OtherScene prints;
  stand_in(prints.world,
           cat("for to in /dev/tty /dev/stderr /dev/stdout; do echo 'Password: ' >$to; done", run), "su");
  const Finished printed = prints.run({"run", "local/su:ann", "--", "id", "-un"});
  CAPTURE(printed.err);
  CHECK(printed.out == "ann\n");
  CHECK_FALSE(contains(printed.err, "asked: "));

  // It asks a second time, and gets nothing, whether that is seen or the echo was on for too short a moment.
  OtherScene again;
  stand_in(again.world,
           cat("ask() { stty -echo; printf 'Password: ' >/dev/tty; read -r said || exit 1; stty echo; "
               "}\nask; ask\n"
               "echo \"got $said\" >&2",
               run),
           "su");
  const Finished twice = again.run({"run", "local/su:ann", "--connect-timeout", "4s", "--", "id", "-un"});
  CAPTURE(twice.err);
  CHECK(twice.code == 255);
  CHECK(contains(twice.err, "local/su:ann  become: "));
  CHECK_FALSE(contains(twice.err, "got "));
  CHECK(count_of(twice.err, "asked: ") == 1);
  CHECK(nobody_is_left());
}

TEST_CASE("where su has switched the echo on before the answer came, nothing is typed") {
  if (!can_test()) return;
  OtherScene scene;
  scene.world.setup +=
      cat("printf '#!/bin/sh\\ntouch /mnt/ann/asked\\nwhile [ ! -e /mnt/ann/seen ]; do sleep 0.02; "
          "done\\necho \"",
          kBecomePassword, "\"\\n' >/mnt/person\n");
  stand_in(scene.world,
           "stty -echo; printf 'Password: ' >/dev/tty\nwhile [ ! -e /mnt/ann/asked ]; do sleep 0.02; done\n"
           "stty echo; touch /mnt/ann/seen\nread -r said\n[ -z \"$said\" ] || echo \"got $said\" >&2\nexit 1",
           "su");
  const Finished got = scene.run({"run", "local/su:ann", "--", "id", "-un"});
  CAPTURE(got.err);
  CHECK(got.code == 255);
  CHECK_FALSE(contains(got.err, "got "));
  CHECK(nobody_is_left());
}

TEST_CASE("-b makes every target another user, under its own name") {
  if (!can_test()) return;
  const Scene scene;
  const Finished one = scene.run({"run", "local", "-b", "--become-user", "db", "--", "id", "-un"});
  CAPTURE(one.err);
  CHECK(one.out == "db\n");
  CHECK(contains(one.err, "asked: [sudo] password of ann for local: "));

  const Finished many = scene.run({"run", "-bK", "local[1-2]", "--", "id", "-un"});
  CHECK(many.code == 0);
  CHECK(contains(many.out, "local1: root\n"));
  CHECK(contains(many.out, "local2: root\n"));
  CHECK(contains(many.err, "asked: [sudo] password of ann for local1 and 1 more: "));

  const OtherScene by_su;
  CHECK(by_su.run({"run", "local", "-b", "--become-user", "db", "--become-method", "su", "--", "id", "-un"})
            .out == "db\n");
  const Finished doctor =
      by_su.run({"doctor", "local", "-b", "--become-user", "db", "--become-method", "su"});
  CHECK(contains(doctor.out, "local: all is well"));
  CHECK(contains(doctor.out, "local/su:db: all is well"));

  const Finished plan = run_program({"plan", "web1", "-F", "none", "-b", "--json"});
  const nlohmann::json planned = nlohmann::json::parse(lines_of(plan.out).at(0));
  CHECK(planned.at("target") == "web1");
  CHECK(planned.at("route").at(1).at("method") == "sudo");
  CHECK(planned.at("route").at(1).at("user") == "root");

  for (const Words& wrong : {Words{"run", "local", "--become-user", "db", "--", "true"},
                             Words{"run", "local", "-b", "--become-user", "-x", "--", "true"},
                             Words{"run", "local", "-b", "--become-user", "0", "--", "true"},
                             Words{"run", "local", "-b", "--become-method", "pfexec", "--", "true"}})
    CHECK(run_program(wrong).code == 2);
  CHECK(nobody_is_left());
}
