// Goal: a plan says of every choice where it comes from.
// Method: settings in and out of what ssh says without any configuration, and the text and the object that
// are made of a step.
#include "cli/plan_step.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/plan_text.h"
#include "core/text.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

LocalUser nobody() {
  LocalUser local;
  local.home = "/home/nobody";
  local.variable = [](const std::string& name) -> std::optional<std::string> {
    if (name == "SSH_AUTH_SOCK") return "/run/agent";
    return std::nullopt;
  };
  local.home_of = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  return local;
}

constexpr std::string_view kRest =
    "addressfamily any\nstricthostkeychecking ask\nuserknownhostsfile /home/nobody/.ssh/known_hosts\n"
    "globalknownhostsfile /etc/ssh/ssh_known_hosts\n";
constexpr std::string_view kKeys = "identityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_ed25519\n";

SshSettings settings_of(std::string_view lines, std::string_view host) {
  auto settings = parse_ssh_settings(lines, host, nobody());
  REQUIRE(settings);
  return *settings;
}

// What is decided, and why: "port" -> "22 <- default".
struct Decided {
  explicit Decided(TargetPlan::Step made) : step(std::move(made)) {}
  std::string operator[](std::string_view key) const {
    for (const PlanChoice& choice : step) {
      if (choice.key != key) continue;
      std::string values;
      for (const std::string& value : choice.values) values += cat(values.empty() ? "" : " ", value);
      return cat(values, " <- ", choice.because);
    }
    return "";
  }
  TargetPlan::Step step;
};

Decided decide(const SshTarget& target, const SshOptions& options, std::string_view lines,
               bool is_jump = false, bool is_first = true, std::vector<KnownHostKey> known = {},
               bool is_by_option = false) {
  const SshSettings defaults =
      settings_of(cat("hostname localhost\nuser nobody\nport 22\n", kRest, kKeys), "localhost");
  const SshSettings settings = settings_of(lines, target.host);
  BackEndFacts facts{.settings = settings};
  facts.known = std::move(known);
  for (const std::string& path : settings.identity_files)
    facts.keys.push_back({path, path.ends_with("rsa") ? KeyKind::kMissing : KeyKind::kEd25519, false});
  facts.has_connector = true;
  const BackEndChoice choice = choose_back_end(facts, is_jump ? BackEndWish::kOpenssh : BackEndWish::kAuto);
  return Decided(
      ssh_step({target, options, settings, defaults, facts, choice, is_jump, is_first, is_by_option}));
}

}  // namespace

TEST_CASE(
    "what ssh does by itself is default where it reads no configuration, and its settings where it does") {
  for (const std::string config : {"none", ""}) {
    SshOptions options;
    options.config_file = config;
    const std::string usual = config.empty() ? "ssh's settings" : "default";
    const Decided step =
        decide({"web", "", "web", 0}, options, cat("hostname web\nuser nobody\nport 22\n", kRest, kKeys));
    CAPTURE(config);
    CHECK(step["user"] == "nobody <- " + usual);
    CHECK(step["port"] == "22 <- " + usual);
    CHECK(step["known_hosts"] == "/home/nobody/.ssh/known_hosts /etc/ssh/ssh_known_hosts <- " + usual);
    CHECK(step["identity_files"] == "/home/nobody/.ssh/id_ed25519 <- " + usual);
    CHECK(step["host_key_checking"] == "strict <- default");  // that is our own
    CHECK(step["key_agent"] == "/run/agent <- SSH_AUTH_SOCK");
  }
}

TEST_CASE("a plain host is all default") {
  SshOptions options;
  options.config_file = "none";
  const Decided step =
      decide({"web", "", "web", 0}, options, cat("hostname web\nuser nobody\nport 22\n", kRest, kKeys));
  CHECK(step["name"] == "web <- the target");
  CHECK(step["method"] == "ssh <- the target");
  CHECK(step["host"] == "web <- the target");
  CHECK(step["user"] == "nobody <- default");
  CHECK(step["port"] == "22 <- default");
  CHECK(step["mode"] == "direct <- no hop before it");
  CHECK(step["backend"] == "libssh2 <- it can honour every setting");
  CHECK(step["host_key_checking"] == "strict <- default");
  CHECK(step["known_hosts"] == "/home/nobody/.ssh/known_hosts /etc/ssh/ssh_known_hosts <- default");
  CHECK(step["host_key_types"] == " <- none is known: the host will be refused");
  CHECK(step["identity_files"] == "/home/nobody/.ssh/id_ed25519 <- default");  // the one that is there
  CHECK(step["key_agent"] == "/run/agent <- SSH_AUTH_SOCK");
  CHECK(step["proxy_jump"] == "");
  CHECK(step["address_family"] == "");
}

TEST_CASE("what differs from ssh's defaults is its configuration's") {
  const Decided step = decide(
      {"web", "", "web", 0}, {},
      "hostname web.example.com\nuser ann\nport 2222\naddressfamily inet6\nstricthostkeychecking false\n"
      "userknownhostsfile /k/known\nidentityfile /k/id_rsa\nidentitiesonly yes\nhostkeyalias theweb\n"
      "identityagent none\nproxycommand nc %h %p\ncertificatefile /k/c\n",
      false, true, {{"ssh-ed25519"}, {"ssh-rsa", true}});
  CHECK(step["host"] == "web.example.com <- ssh's configuration");
  CHECK(step["user"] == "ann <- ssh's configuration");
  CHECK(step["port"] == "2222 <- ssh's configuration");
  CHECK(step["address_family"] == "inet6 <- ssh's configuration");
  CHECK(step["known_hosts"] == "/k/known <- ssh's configuration");
  CHECK(step["host_key_types"] == "ssh-ed25519 @cert-authority ssh-rsa <- these files know them");
  CHECK(step["identity_files"] == "/k/id_rsa <- ssh's configuration");  // missing, and said
  CHECK(step["identities_only"] == "yes <- ssh's configuration");
  CHECK(step["certificate_files"] == "/k/c <- ssh's configuration");
  CHECK(step["host_key_alias"] == "theweb <- ssh's configuration");
  CHECK(step["key_agent"] == " <- ssh's configuration");
  CHECK(step["proxy_command"] == "nc %h %p <- ssh's configuration");
  CHECK(step["backend"].starts_with("openssh <- ProxyCommand: nc %h %p: "));
  CHECK(step["host_key_checking"].find("StrictHostKeyChecking false of the configuration is not followed") !=
        std::string::npos);
}

TEST_CASE("options and the target come before the configuration") {
  SshOptions options;
  options.config_file = "/my/config";
  options.user = "ann";
  options.port = 2222;
  options.identity = "/k/id";
  options.known_hosts = "/k/known";
  options.family = AddressFamily::kIpv4;
  options.accept_new = true;
  const std::string lines =
      cat("hostname h\nuser ann\nport 2222\naddressfamily inet\nidentityfile /k/id\nidentitiesonly yes\n"
          "userknownhostsfile /k/known\nglobalknownhostsfile /dev/null\nstricthostkeychecking ask\n");
  const Decided step = decide({"web", "", "web", 0}, options, lines);
  CHECK(step["host"] == "h <- ssh's configuration /my/config");
  CHECK(step["user"] == "ann <- -l");
  CHECK(step["port"] == "2222 <- --port");
  CHECK(step["address_family"] == "inet <- -4");
  CHECK(step["identity_files"] == "/k/id <- --identity");
  CHECK(step["identities_only"] == "yes <- --identity");
  CHECK(step["known_hosts"] == "/k/known /dev/null <- --known-hosts");
  CHECK(step["host_key_checking"] == "accept-new <- --accept-new");
  CHECK(step["host_key_types"] == " <- none is known: the first one seen will be believed");
  const Decided named = decide({"ann@web:2222", "ann", "web", 2222}, options, lines);
  CHECK(named["user"] == "ann <- the target");
  CHECK(named["port"] == "2222 <- the target");
}

TEST_CASE("a jump is ProxyJump's, and what lies behind it is tunnelled") {
  const std::string lines = cat("hostname gw\nuser ann\nport 22\n", kRest, kKeys);
  const Decided jump = decide({"gw", "ann", "gw", 0}, {}, lines, true);
  CHECK(jump["method"] == "ssh <- ProxyJump");
  CHECK(jump["host"] == "gw <- ProxyJump");
  CHECK(jump["user"] == "ann <- ProxyJump");
  CHECK(jump["mode"] == "direct <- no hop before it");
  CHECK(jump["name"] == "gw <- ProxyJump");
  CHECK(jump["host_key_checking"] == "strict <- default");
  const Decided behind = decide({"web", "", "web", 0}, {}, cat(lines, "proxyjump ann@gw\n"), false, false);
  CHECK(behind["mode"].starts_with("tunnel <- ProxyJump"));
  CHECK(behind["proxy_jump"] == "ann@gw <- ssh's configuration");
}

TEST_CASE("a jump of -J is -J's, up to the first's own configuration") {
  const std::string lines = cat("hostname gw\nuser ann\nport 22\n", kRest, kKeys);
  SshOptions through;
  through.jumps = "gw";
  const Decided target = decide({"web", "", "web", 0}, through, cat(lines, "proxyjump gw\n"), false, false);
  CHECK(target["mode"].starts_with("tunnel <- -J"));
  CHECK(target["proxy_jump"] == "gw <- -J");
  const Decided gateway =
      decide({"gw", "", "gw", 0}, {}, cat(lines, "proxyjump outer\n"), true, false, {}, true);
  CHECK(gateway["name"] == "gw <- -J");
  CHECK(gateway["mode"].starts_with("tunnel <- ProxyJump"));
  CHECK(gateway["proxy_jump"] == "outer <- ssh's configuration");
  through.jumps = "none";
  CHECK(decide({"web", "", "web", 0}, through, lines)["mode"] == "direct <- -J none: no hop before it");
}

TEST_CASE("the object has a reason for every choice, and kinds as they are written down") {
  const Decided step = decide({"web", "", "web", 0}, {},
                              cat("hostname web\nuser nobody\nport 22\nidentitiesonly yes\n", kRest, kKeys));
  const std::string line = Events(false).plan({"web", {step.step}});
  CHECK(line.ends_with("\n"));
  const nlohmann::json plan = nlohmann::json::parse(line);
  CHECK(plan.at("target") == "web");
  REQUIRE(plan.at("route").size() == 1);
  const nlohmann::json made = plan["route"][0];
  CHECK(made.at("method") == "ssh");
  CHECK(made.at("host") == "web");
  CHECK(made.at("user") == "nobody");
  CHECK(made.at("port") == 22);
  CHECK(made.at("mode") == "direct");
  CHECK(made.at("backend") == "libssh2");
  CHECK(made.at("identities_only") == true);
  CHECK(made.at("host_key_types") == nlohmann::json::array());
  CHECK(made.at("identity_files") == nlohmann::json::array({"/home/nobody/.ssh/id_ed25519"}));
  for (const auto& [key, value] : made.items()) {
    if (key == "because") continue;
    CAPTURE(key);
    CHECK_FALSE(made.at("because").at(key).get<std::string>().empty());
  }

  const nlohmann::json local =
      nlohmann::json::parse(Events(false).plan({"local", {local_step("local")}}))["route"][0];
  CHECK(local.at("name") == "local");
  CHECK(local.at("method") == "local");
  for (const char* key : {"host", "user", "port", "backend"}) CHECK(local.at(key).is_null());
}

TEST_CASE("the key exchange that libssh2 will use is shown, and which one of ssh's is lost by that") {
  const Decided step = decide({"web", "", "web", 0}, {},
                              cat("hostname web\nuser nobody\nport 22\nkexalgorithms "
                                  "sntrup761x25519-sha512@openssh.com,ecdh-sha2-nistp256,curve25519-sha256\n",
                                  kRest, kKeys));
  CHECK(step["key_exchange"] ==
        "ecdh-sha2-nistp256 <- libssh2 does not know sntrup761x25519-sha512@openssh.com, which ssh would "
        "offer first");
}

TEST_CASE("the text has a line for each value, and escapes what comes from elsewhere") {
  TargetPlan plan{"web",
                  {{{"host", PlanChoice::Kind::kText, {"web\x1b[2J"}, "the target"},
                    {"known_hosts", PlanChoice::Kind::kList, {"/a", "/b"}, "default", {"", "missing"}},
                    {"key_agent", PlanChoice::Kind::kText, {}, "default"}}}};
  CHECK(plan_text(plan) ==
        "web\n"
        "  host         web\\x1b[2J    the target\n"
        "  known hosts  /a            default\n"
        "               /b (missing)\n"
        "  key agent    none          default\n");
  plan.route[0].push_back({"name", PlanChoice::Kind::kText, {"web\x1b[2J"}, "the target"});
  plan.route.insert(plan.route.begin(), {{"name", PlanChoice::Kind::kText, {"ann@gw:22"}, "ProxyJump"},
                                         {"host", PlanChoice::Kind::kText, {"192.0.2.1"}, "ProxyJump"}});
  const std::string text = plan_text(plan);
  CHECK(text.starts_with(
      "web  by ann@gw:22 → web\\x1b[2J\n  step 1: ann@gw:22\n  host  192.0.2.1  ProxyJump\n  step 2: web"));
}

TEST_CASE("a plan says what sudo will run, by whom and on which machine") {
  const Decided here(become_step("sudo:postgres", Method::kSudo, "postgres"));
  CHECK(here["method"] == "sudo <- the target");
  CHECK(here["user"] == "postgres <- the target");
  CHECK(here["host"] == " <- this machine");
  CHECK(here["mode"] == "direct <- the target");
  CHECK(here["command"] == "sudo -H -u postgres -- /bin/sh -c ... <- run by our own user");
  const Decided beneath(become_step("sudo", Method::kSudo, "root", "web1"));
  CHECK(beneath["user"] == "root <- the target");
  CHECK(beneath["host"] == " <- the machine of web1");
  CHECK(beneath["mode"].starts_with("relay <- web1 "));
  CHECK(here["password"] == "of who runs it <- if sudo wants one: asked for then, or before all with -K");
  const Decided by_su(become_step("su:db", Method::kSu, "db", "web1", "-b"));
  CHECK(by_su["method"] == "su <- -b");
  CHECK(by_su["user"] == "db <- -b");
  CHECK(by_su["command"] == "su -s /bin/sh -c ... db <- run by the user of web1");
  CHECK(by_su["password"].starts_with("of db <- "));
  const Decided by_doas(become_step("doas", Method::kDoas, "root"));
  CHECK(by_doas["command"] == "doas -u root /bin/sh -c ... <- run by our own user");
  CHECK(beneath["command"] == "sudo -H -u root -- /bin/sh -c ... <- run by the user of web1");
}

TEST_CASE(
    "a host that a hop's own ssh reaches: whose ssh, whose keys, whom to trust, and what is not followed") {
  const SshSettings defaults =
      settings_of(cat("hostname localhost\nuser nobody\nport 22\n", kRest, kKeys), "localhost");
  const SshSettings settings =
      settings_of(cat("hostname web\nuser nobody\nport 22\nproxyjump bastion\n", kRest, kKeys), "web");
  SshOptions options;
  options.accept_new = true;
  const SshTarget target{"web", "", "web", 0};
  SshStep relay{target, options, settings, defaults, {.settings = settings}, {}};
  relay.hop = "gw";
  const Decided proved(ssh_step(relay));
  CHECK(proved["mode"].starts_with("relay <- gw connects"));
  CHECK(proved["mode"].find("trusted with what lies beneath it") != std::string::npos);
  CHECK(proved["backend"].starts_with("openssh <- the ssh of gw"));
  CHECK(proved["signing"].find("has to prove it") != std::string::npos);
  CHECK(proved["proxy_jump"] == " <- bastion of the configuration is not followed: the path says the way");
  CHECK(proved["host_key_checking"].starts_with("strict <- "));
  CHECK(proved["host_key_types"] == " <- none is known: the host will be refused");
  CHECK(proved["backend"].find("tunnel") == std::string::npos);
  relay.may_tunnel = true;
  CHECK(Decided(ssh_step(relay))["backend"].find("if it has none, a tunnel") != std::string::npos);
  relay.trusts_hop = true;
  CHECK(Decided(ssh_step(relay))["signing"].find("--trust-hop") != std::string::npos);
}

TEST_CASE("a plan says which way into a container will be tried, and what will be run for it") {
  const Decided here(container_step({"docker:app", Engine::kDocker, "app", ""}));
  CHECK(here["method"] == "docker <- the target");
  CHECK(here["user"] == " <- the container's own");
  CHECK(here["way"].starts_with("namespaces, else exec <- "));
  CHECK(here["lookup"].starts_with("docker inspect --type container --format {{"));
  CHECK(here["command"] == "docker exec -i app /bin/sh -c ... <- run by our own user");
  const Decided beneath(container_step({"docker:ann@app", Engine::kDocker, "app", "ann"}, "web1"));
  CHECK(beneath["user"] == "ann <- the target");
  CHECK(beneath["way"].starts_with("exec <- "));
  CHECK(beneath["command"] == "docker exec -i -u ann app /bin/sh -c ... <- run by the user of web1");
  const Decided process(container_step({"nsenter:42", Engine::kNsenter, "42", ""}));
  CHECK(process["way"].starts_with("namespaces <- "));
}
