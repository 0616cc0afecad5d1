// Goal: who is asked for the same password as another is told from the targets' names, and nobody on another
// machine or in a container is given one that is not meant for it. Method: targets as they are written, and
// the scopes made of them.
#include "cli/becoming.h"

#include <catch2/catch.hpp>

#include "core/text.h"
#include "transports/ssh_settings.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

BecomeScope scope_of(const char* target, const char* ssh_user = "") {
  return become_scope(parse_targets(target).targets.at(0), ssh_user);
}

}  // namespace

TEST_CASE("sudo and doas ask for the password of who runs them, su for that of who is to be") {
  const std::string us = local_user().name;
  CHECK(scope_of("sudo:db").whose == us);
  CHECK(scope_of("local/local/doas:db").whose == us);
  CHECK(scope_of("su:db").whose == "db");
  CHECK(scope_of("ann@web1/sudo:db").whose == "ann");
  CHECK(scope_of("web1/sudo:db", "bob").whose == "bob");
  CHECK(scope_of("web1/sudo:db").whose == "");
  CHECK(scope_of("ann@web1/sudo:db/local/sudo:app").whose == "db");
  CHECK(scope_of("ann@web1/su:db").whose == "db");
}

TEST_CASE(
    "one password is for many hosts, and for many users to be; never for two methods, nor here and there") {
  CHECK(scope_of("ann@web1/sudo:db").key == scope_of("ann@web2/sudo:app").key);
  CHECK(scope_of("sudo:db").key == scope_of("local/sudo:app").key);
  CHECK(scope_of("ann@web1/sudo:db").key != scope_of("bob@web1/sudo:db").key);
  CHECK(scope_of("ann@web1/sudo:db").key != scope_of("ann@web1/doas:db").key);
  CHECK(scope_of("su:db").key != scope_of("web1/su:db").key);
  const std::string us = local_user().name, at_web = cat(us, "@web1/sudo:db");
  CHECK(scope_of("sudo:db").key != scope_of(at_web.c_str()).key);
}

TEST_CASE("what is in a container is not given a password of the machine around it") {
  const std::string us = local_user().name, inside = cat("docker:", us, "@app/sudo:db");
  CHECK(scope_of(inside.c_str()).key != scope_of("sudo:db").key);
  CHECK(scope_of("ann@web1/docker:ann@app/sudo:db").key != scope_of("ann@web1/sudo:db").key);
  CHECK(scope_of("docker:ann@app/sudo:db").key != scope_of("docker:ann@other/sudo:db").key);
}

TEST_CASE("a host beneath this machine is another machine") {
  const std::string us = local_user().name, at_web = cat("local/", us, "@web1/sudo:db");
  CHECK(scope_of(at_web.c_str()).key != scope_of("local/sudo:db").key);
  CHECK(scope_of("local/ann@web1/sudo:db").key == scope_of("ann@web2/sudo:db").key);
}
