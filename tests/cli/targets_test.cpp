// Goal: a target expression means what a user of ssh, pdsh or clush expects, and nothing else reaches a host.
// Method: tables of expressions with the names they make, and of expressions with a piece of the complaint.
#include "cli/targets.h"

#include <catch2/catch.hpp>

#include "core/text.h"

using banyan::cat;
using namespace banyan::cli;
using banyan::Engine;

namespace {

std::string names(std::string_view expression, std::string_view exclude = {}) {
  std::string joined;
  for (const Target& target : parse_targets(expression, exclude).targets) {
    if (!joined.empty()) joined += ' ';
    joined += target.name;
  }
  return joined;
}

std::string complaint(std::string_view expression, std::string_view exclude = {}) {
  try {
    (void)parse_targets(expression, exclude);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ranges and lists become names in the order written") {
  struct {
    const char* expression;
    const char* expected;
  } table[] = {
      {"local", "local"},
      {"local[1-3]", "local1 local2 local3"},
      {"web1", "web1"},
      {"web1.example.org", "web1.example.org"},
      {"web[1-3]", "web1 web2 web3"},
      {"web[01:03]", "web01 web02 web03"},
      {"web[09-11]", "web09 web10 web11"},
      {"web[098-101].dc1", "web098.dc1 web099.dc1 web100.dc1 web101.dc1"},
      {"web1..3", "web1 web2 web3"},
      {"web08..10.dc2", "web08.dc2 web09.dc2 web10.dc2"},
      {"10.0.0.1..3", "10.0.0.1 10.0.0.2 10.0.0.3"},
      {"web[1,3-5]", "web1 web3 web4 web5"},
      {"web[7]", "web7"},
      {"[1-2].rack", "1.rack 2.rack"},
      {"r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"},
      {"web[1-2],db1,db[4,6]", "web1 web2 db1 db4 db6"},
      {"deploy@web[1-2]:2222", "deploy@web1:2222 deploy@web2:2222"},
      {"web1:[2201-2203]", "web1:2201 web1:2202 web1:2203"},
      {"web1,web1,web[1-2]", "web1 web2"},
      {"[::1]:22,[::1]", "[::1]:22 [::1]"},
      {"root@[fe80::1%eth0]:[22-23]", "root@[fe80::1%eth0]:22 root@[fe80::1%eth0]:23"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(names(row.expression) == row.expected);
  }
}

TEST_CASE("a name is taken apart into user, host and port") {
  struct {
    const char* expression;
    Method method;
    const char* user;
    const char* host;
    std::uint16_t port;
  } table[] = {
      {"local", Method::kLocal, "", "", 0},
      {"local7", Method::kLocal, "", "", 0},
      {"localhost", Method::kSsh, "", "localhost", 0},
      {"web1", Method::kSsh, "", "web1", 0},
      {"web1:22", Method::kSsh, "", "web1", 22},
      {"deploy@web1:65535", Method::kSsh, "deploy", "web1", 65535},
      {"ann@corp.example@web1", Method::kSsh, "ann@corp.example", "web1", 0},
      {"10.0.0.7", Method::kSsh, "", "10.0.0.7", 0},
      {"::1", Method::kSsh, "", "::1", 0},
      {"[::1]:22", Method::kSsh, "", "::1", 22},
      {"root@[2001:db8::7]", Method::kSsh, "root", "2001:db8::7", 0},
      {"[fe80::1%eth0]:2222", Method::kSsh, "", "fe80::1%eth0", 2222},
      {"a_b-c.d", Method::kSsh, "", "a_b-c.d", 0},
      {"sudo:postgres", Method::kSudo, "postgres", "", 0},
      {"sudo:ann@corp.example", Method::kSudo, "ann@corp.example", "", 0},
      {"sudo:sudo", Method::kSudo, "sudo", "", 0},
      {"sudo", Method::kSudo, "root", "", 0},
      {"su:postgres", Method::kSu, "postgres", "", 0},
      {"su", Method::kSu, "root", "", 0},
      {"doas:postgres", Method::kDoas, "postgres", "", 0},
      {"doas", Method::kDoas, "root", "", 0},
      {"su1", Method::kSsh, "", "su1", 0},
      {"sus", Method::kSsh, "", "sus", 0},
      {"ssh:su", Method::kSsh, "", "su", 0},
      {"ssh:doas:22", Method::kSsh, "", "doas", 22},
      {"sudo1", Method::kSsh, "", "sudo1", 0},
      {"sudoers", Method::kSsh, "", "sudoers", 0},
      {"ann@sudo", Method::kSsh, "ann", "sudo", 0},
      {"ann@sudo:22", Method::kSsh, "ann", "sudo", 22},
      {"ssh", Method::kSsh, "", "ssh", 0},
      {"ssh:22", Method::kSsh, "", "ssh", 22},
      {"ssh:web1", Method::kSsh, "", "web1", 0},
      {"ssh:deploy@web1:2222", Method::kSsh, "deploy", "web1", 2222},
      {"ssh:sudo", Method::kSsh, "", "sudo", 0},
      {"ssh:sudo:22", Method::kSsh, "", "sudo", 22},
      {"ssh:local", Method::kSsh, "", "local", 0},
      {"ssh:[::1]:22", Method::kSsh, "", "::1", 22},
      {"ssh:::1", Method::kSsh, "", "::1", 0},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    TargetSet set = parse_targets(row.expression);
    REQUIRE(set.targets.size() == 1);
    CHECK(set.targets[0] == Target{row.expression, row.method, row.user, row.host, row.port});
  }
}

TEST_CASE("a path ends in contexts of the same machine: as who is asked, or as another user") {
  struct {
    const char* expression;
    Method method;
    const char* user;
    const char* last;
    const char* hop;
  } table[] = {
      {"local/local2", Method::kLocal, "", "local2", "local"},
      {"web1/sudo:postgres", Method::kSudo, "postgres", "sudo:postgres", "web1"},
      {"web1/sudo", Method::kSudo, "root", "sudo", "web1"},
      {"local/sudo:app/local", Method::kLocal, "", "local", "local/sudo:app"},
      {"sudo:app/sudo", Method::kSudo, "root", "sudo", "sudo:app"},
      {"ssh:sudo/sudo:app", Method::kSudo, "app", "sudo:app", "ssh:sudo"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    const TargetSet set = parse_targets(row.expression);
    REQUIRE(set.targets.size() == 1);
    const Target& target = set.targets[0];
    CHECK(set.one);
    CHECK(target.name == row.expression);
    CHECK(target.method == row.method);
    CHECK(target.user == row.user);
    CHECK(target.host == "");
    CHECK(last_name(target) == row.last);
    REQUIRE(target.hop);
    CHECK(target.hop->name == row.hop);
  }
  CHECK(names("web[1-2]/sudo:app[1-2]") == "web1/sudo:app1 web1/sudo:app2 web2/sudo:app1 web2/sudo:app2");
}

TEST_CASE("a host beneath a hop is written as any host") {
  const Target target = parse_targets("gw/local/ann@[::1]:2222").targets.at(0);
  CHECK((target.method == Method::kSsh));
  CHECK(target.user == "ann");
  CHECK(target.host == "::1");
  CHECK(target.port == 2222);
  CHECK(last_name(target) == "ann@[::1]:2222");
  REQUIRE(target.hop);
  CHECK(target.hop->name == "gw/local");
  CHECK(names("gw/db[1-2]") == "gw/db1 gw/db2");
  CHECK(complaint("gw/-oProxyCommand=x") != "");
  CHECK(complaint("gw/a b") != "");
  CHECK(complaint("gw/db1:0") != "");
}

TEST_CASE("a user to become is on the allow-list, and is no number") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"sudo:", "user '"},
      {"sudo:-u", "user '"},
      {"sudo:#0", "user '"},
      {"sudo:%wheel", "user '"},
      {"sudo:a b", "user '"},
      {"sudo:$(id)", "user '"},
      {"sudo:a:b", "user '"},
      {"web1/sudo:;reboot", "user '"},
      {"web1/sudo:", "user '"},
      {"sudo:22", "ssh:sudo:22"},
      {"su:22", "ssh:su:22"},
      {"doas:-C", "user '"},
      {"web1/sudo:0", "a user's name"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("-x leaves out who one becomes by name, however it is written, and what lies beneath a hop") {
  CHECK(names("sudo:app,sudo:db", "sudo:app") == "sudo:db");
  CHECK(names("sudo,sudo:root,sudo:app", "sudo") == "sudo:app");
  CHECK(names("sudo,sudo:root,sudo:app", "sudo:root") == "sudo:app");
  CHECK(names("web[1-2]/sudo:app,web1/sudo", "web1") == "web2/sudo:app");
  CHECK(names("web[1-2]/sudo:app", "web1/sudo:app") == "web2/sudo:app");
  CHECK(names("web1/sudo/local,web2/sudo:root/local,web3", "web[1-2]/sudo:root") == "web3");
  CHECK(names("sudo:app/local,sudo:db/local", "sudo:app") == "sudo:db/local");
  CHECK(names("ssh:web1,root@web1,ssh:root@web2,web3", "web[1-2]") == "web3");
  CHECK(names("web1:22,ssh:web2", "ssh:web1:22") == "ssh:web2");
  CHECK(names("ssh:sudo,sudo", "sudo") == "ssh:sudo");
  CHECK(names("su,sudo,su:root,doas", "su") == "sudo doas");
  CHECK(names("ssh:local,local", "local") == "ssh:local");
  CHECK(parse_targets("sudo,web1", "sudo:root,sudo:app").not_excluded ==
        std::vector<std::string>{"sudo:app"});
}

TEST_CASE("a container is named as its engine calls it, beneath a hop as well") {
  struct {
    const char* expression;
    Engine engine;
    const char* user;
    const char* container;
  } table[] = {
      {"docker:app", Engine::kDocker, "", "app"},
      {"docker:ann@app", Engine::kDocker, "ann", "app"},
      {"web1/podman:0@a.b-c", Engine::kPodman, "0", "a.b-c"},
      {"kubectl:pod", Engine::kKubectl, "", "pod"},
      {"local/kubectl:ns:pod.x:web", Engine::kKubectl, "", "ns:pod.x:web"},
      {"kubectl::pod:web", Engine::kKubectl, "", ":pod:web"},
      {"lxc:c1", Engine::kLxc, "", "c1"},
      {"lxd:c1", Engine::kLxd, "", "c1"},
      {"incus:c1", Engine::kIncus, "", "c1"},
      {"nspawn:ann@m", Engine::kNspawn, "ann", "m"},
      {"docker:app/nsenter:42", Engine::kNsenter, "", "42"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    const TargetSet set = parse_targets(row.expression);
    REQUIRE(set.targets.size() == 1);
    CHECK(set.one);
    CHECK(set.targets[0].method == Method::kContainer);
    CHECK(set.targets[0].engine == row.engine);
    CHECK(set.targets[0].user == row.user);
    CHECK(set.targets[0].container == row.container);
    CHECK(set.targets[0].host == "");
  }
  CHECK(names("web[1-2]/docker:app[1-2]") ==
        "web1/docker:app1 web1/docker:app2 web2/docker:app1 web2/docker:app2");
  CHECK(names("docker:app/local,docker:app/sudo:db") == "docker:app/local docker:app/sudo:db");
  for (const char* host : {"docker", "ssh:docker:22", "ann@docker:22", "nsenter", "docker1:22"}) {
    CAPTURE(host);
    CHECK(parse_targets(host).targets.at(0).method == Method::kSsh);
  }
}

TEST_CASE("a container's name is on the allow-list, and is not what may be a port") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"docker:", "begins with a letter"}, {"docker:-v", "begins with a letter"},
      {"docker:a b", "letters, digits"},   {"docker:$(id)", "letters, digits"},
      {"docker:-u@app", "user '"},         {"docker:@app", "user '"},
      {"docker:22", "ssh:docker:22"},      {"web1/docker:22", "may be a port"},
      {"kubectl:ann@pod", "another user"}, {"kubectl::pod", "kubectl:NAMESPACE:POD"},
      {"nsenter:self", "nsenter:PID"},     {"nsenter:0", "nsenter:PID"},
      {"nsenter:ann@1", "another user"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("-x leaves out a container whoever one is in there, and what lies beneath it") {
  CHECK(names("docker:app,docker:ann@app,docker:db", "docker:app") == "docker:db");
  CHECK(names("docker:app,docker:ann@app", "docker:ann@app") == "docker:app");
  CHECK(names("web1/docker:app,web2/docker:ann@app,web2/local", "web[1-2]/docker:app") == "web2/local");
  CHECK(names("docker:app/local,local", "docker:app") == "local");
  CHECK(names("docker:app,podman:app", "docker:app") == "podman:app");
}

TEST_CASE("only one literal name is one target") {
  for (const char* one : {"local", "web1", "deploy@web1:22", "[::1]:22", "::1"}) {
    CAPTURE(one);
    CHECK(parse_targets(one).one);
  }
  for (const char* many : {"local[1-1]", "web[7]", "web1..1", "web1,web1", "web1,web2"}) {
    CAPTURE(many);
    CHECK_FALSE(parse_targets(many).one);
  }
  CHECK_FALSE(parse_targets("web[1-2]", "web2").one);
}

TEST_CASE("excluded names are left out, and leaving out all is an error") {
  CHECK(names("web[1-5]", "web[2-3],web5") == "web1 web4");
  CHECK(names("web1", "db1") == "web1");
  CHECK(complaint("web[1-2]", "web1..2").find("-x excludes them all") != std::string::npos);
  CHECK(complaint("web[1-2]", "@canary").find("groups") != std::string::npos);
  CHECK(complaint("web[1-2]", "we b1").find("letters") != std::string::npos);
}

TEST_CASE("a bare host in -x is left out whatever the user and the port, a full name only as it stands") {
  CHECK(names("root@web1,web1:22,ann@[::1]:22,web2", "web1,::1") == "web2");
  CHECK(names("root@web1,ann@web1,web1", "root@web1") == "ann@web1 web1");
  CHECK(names("web1:22,web1:23", "web1:22") == "web1:23");
  CHECK(names("local1,local2", "local1") == "local2");
}

TEST_CASE("what -x names and nobody meant to contact is told, as it was written") {
  using Items = std::vector<std::string>;
  CHECK(parse_targets("local[1-2]", "local9").not_excluded == Items{"local9"});
  CHECK(parse_targets("web[1-4]", "web[3-9],db[1-2],web1,root@web2").not_excluded ==
        Items{"db[1-2]", "root@web2"});
  CHECK(parse_targets("root@web1,web2", "web1,root@web1").not_excluded.empty());
  CHECK(parse_targets("web1").not_excluded.empty());
}

TEST_CASE("what could reach an argument vector as something else is refused") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"-oProxyCommand=touch", "begin with '-'"},
      {"web1,-oProxyCommand=x", "begin with '-'"},
      {"root@-oProxyCommand=x", "begin with '-'"},
      {"-lroot@web1", "begin with '-'"},
      {"web1;reboot", "letters"},
      {"web1 reboot", "letters"},
      {"web1\nreboot", "letters"},
      {"$(reboot)", "letters"},
      {"`reboot`", "letters"},
      {"web1'", "letters"},
      {"web1\"", "letters"},
      {"web1\\", "letters"},
      {"w\xc3\xa9"
       "b1",
       "letters"},
      {"us$er@web1", "user '"},
      {"us`er@web1", "user '"},
      {"us\ner@web1", "user '"},
      {"us%r@web1", "user '"},
      {"web%h", "letters"},
      {"@web1", "groups"},
      {"web1:", "not a port"},
      {"web1:0", "not a port"},
      {"web1:65536", "not a port"},
      {"web1:ssh", "not a port"},
      {"dockr:app", "a container is docker:NAME"},
      {"web1:22x", "not a port"},
      {":22", "no host"},
      {"root@", "no host"},
      {"[::1]22", "only a port"},
      {"[::g]", "not an IPv6 address"},
      {"1:2:3", "not an IPv6 address"},
      {"[fe80::1%]", "not an IPv6 address"},
      {"[fe80::1%a;b]", "not an IPv6 address"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("syntax this version does not know is said so, never taken as a name") {
  struct {
    const char* expression;
    const char* complaint;
  } table[] = {
      {"@web", "groups"},
      {"~web.*", "regular"},
      {"^hosts.txt", "from a file"},
      {"-", "standard input"},
      {"*.dc2", "patterns"},
      {"web?", "patterns"},
      {"web1:&dc1", "intersections"},
      {"web1:!dc1", "intersections"},
  };
  for (const auto& row : table) {
    CAPTURE(row.expression);
    CHECK(complaint(row.expression).find(row.complaint) != std::string::npos);
  }
}

TEST_CASE("a slip in a range is an error and not a host of that name") {
  for (const char* wrong : {"web[1-", "web[]", "web[3-1]", "web[a-c]", "web[1-2-3]", "web[1:2:3]", "web[-3]",
                            "web[1-1234567890]", "web..3", "web3..1", "web1..", "web[1,]", "web1-3]"}) {
    CAPTURE(wrong);
    CHECK_FALSE(complaint(wrong).empty());
  }
  for (const char* wrong : {"", ",", "web1,", ",web1", "web1,,web2"}) {
    CAPTURE(wrong);
    CHECK_FALSE(complaint(wrong).empty());
  }
  CHECK(complaint("root@local").find("neither user nor port") != std::string::npos);
  CHECK(complaint("local:22").find("neither user nor port") != std::string::npos);
}

TEST_CASE("expansion is bounded before it begins") {
  CHECK(parse_targets("n[1-100000]").targets.size() == kTargetsMax);
  for (const char* wrong : {"n[1-100001]", "n[1-100000],one", "n[1-999999999]",
                            "n[1-999999999]x[1-999999999]", "a[1-400]b[1-400]", "n[1-60000,1-60000]"}) {
    CAPTURE(wrong);
    CHECK(complaint(wrong).find("more than 100000") != std::string::npos);
  }
  CHECK(complaint(std::string(400, 'a').append("[1-90000]")).find("longer than") != std::string::npos);
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "[1]";
  CHECK(complaint(deep).find("too many ranges") != std::string::npos);
}

TEST_CASE("a complaint shows the name without its control characters") {
  CHECK(complaint("we\x1b]52;c;x\x07"
                  "b")
            .find('\x1b') == std::string::npos);
}

TEST_CASE("to become another user everywhere is to be one beneath each target, under its name") {
  TargetSet set = parse_targets("ann@web1:22,local,gw/db1");
  become_everywhere(set, Method::kDoas, "app");
  REQUIRE(set.targets.size() == 3);
  const Target& first = set.targets[0];
  CHECK(first.name == "ann@web1:22/doas:app");
  CHECK(shown_name(first) == "ann@web1:22");
  CHECK(last_name(first) == "doas:app");
  CHECK(first.method == Method::kDoas);
  CHECK(first.user == "app");
  CHECK(*first.hop == parse_targets("ann@web1:22").targets[0]);
  CHECK(shown_name(*first.hop) == "ann@web1:22");
  CHECK(set.targets[2].name == "gw/db1/doas:app");
  for (const char* user : {"", "-u", "0", "a b", "$(id)"})
    CHECK_THROWS_AS(become_everywhere(set, Method::kSu, user), UsageError);
}

TEST_CASE("each hop becomes a target of its own, once, before the first beneath it, and goes by its name") {
  const auto with_hops = [](TargetSet set) {
    add_hops(set);
    std::string names;
    for (const Target& target : set.targets) names += cat(shown_name(target), " ");
    return names;
  };
  CHECK(with_hops(parse_targets("web1,local")) == "web1 local ");
  CHECK(with_hops(parse_targets("gw/db[1-2]/local,gw,web1")) ==
        "gw gw/db1 gw/db1/local gw/db2 gw/db2/local web1 ");
  TargetSet become = parse_targets("web1");
  become_everywhere(become, Method::kSudo, "root");
  CHECK(with_hops(become) == "web1 web1/sudo:root ");
  TargetSet many = parse_targets("local[1-60000]/local");
  CHECK_THROWS_AS(add_hops(many), UsageError);
}
