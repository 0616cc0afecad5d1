#include "cli/plan_step.h"

#include <algorithm>

#include "core/text.h"
#include "transports/su.h"

namespace banyan::cli {
namespace {

using Kind = PlanChoice::Kind;

constexpr std::string_view kDefault = "default", kTarget = "the target";
// What ssh does without any configuration, or one that says the same: it does not tell which.
constexpr std::string_view kSettings = "ssh's settings";

PlanChoice text(std::string key, std::string value, std::string because) {
  PlanChoice choice{std::move(key), Kind::kText, {}, std::move(because)};
  if (!value.empty()) choice.values.push_back(std::move(value));
  return choice;
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += cat(line.empty() ? "" : " ", word);
  return line;
}

class Maker {
 public:
  explicit Maker(const SshStep& step) : step_(step), settings_(step.settings) {}

  TargetPlan::Step make() {
    add_way();
    add_host_keys();
    add_keys();
    return std::move(made_);
  }

 private:
  std::string configuration() const {
    const std::string& file = step_.options.config_file;
    return file.empty() ? "ssh's configuration" : cat("ssh's configuration ", file);
  }

  // Who asked for this step, and so said what its name says.
  std::string asker() const {
    if (!step_.is_jump) return std::string(kTarget);
    return step_.is_by_option ? "-J" : "ProxyJump";
  }
  // Who named the hops before it.
  std::string asker_of_hops() const {
    return !step_.options.jumps.empty() && (!step_.is_jump || step_.is_by_option) ? "-J" : "ProxyJump";
  }

  bool accepts_new() const { return step_.options.accept_new || step_.accepts_new; }

  bool is_usual(std::string_view setting) const {
    return settings_.said(setting) == step_.defaults.said(setting);
  }
  std::string usual() const {
    return std::string(step_.options.config_file == "none" ? kDefault : kSettings);
  }
  // Where ssh has a setting from, when no option of ours says it.
  std::string source(std::string_view setting) const { return is_usual(setting) ? usual() : configuration(); }
  std::string source(std::string_view setting, bool by_option, std::string_view option) const {
    return by_option ? std::string(option) : source(setting);
  }

  void add(PlanChoice choice) { made_.push_back(std::move(choice)); }
  void add_if_set(std::string key, const std::string& value, std::string_view setting) {
    if (!value.empty()) add(text(std::move(key), value, source(setting)));
  }
  void add_list(std::string key, std::vector<std::string> values, std::string because,
                std::vector<std::string> remarks = {}) {
    add({std::move(key), Kind::kList, std::move(values), std::move(because), std::move(remarks)});
  }

  void add_way() {
    const SshTarget& target = step_.target;
    const SshOptions& options = step_.options;
    const BackEndChoice& choice = step_.choice;
    add(text("name", target.name, asker()));
    add(text("method", "ssh", asker()));
    add(text("host", settings_.hostname, settings_.hostname == target.host ? asker() : configuration()));
    add(text("user", settings_.user,
             target.user.empty() ? source("user", !options.user.empty(), "-l") : asker()));
    add({"port",
         Kind::kNumber,
         {cat(settings_.port)},
         target.port == 0 ? source("port", options.port != 0, "--port") : asker()});
    if (!step_.hop.empty()) return add_relay();
    add(text("mode", step_.is_first ? "direct" : "tunnel",
             !step_.is_first                 ? cat(asker_of_hops(), ": no code of ours runs on the hop")
             : step_.options.jumps == "none" ? "-J none: no hop before it"
                                             : "no hop before it"));
    std::string because = choice.setting.empty() ? choice.because : cat(choice.setting, ": ", choice.because);
    if (!choice.remedy.empty()) because += cat(" (for libssh2: ", choice.remedy, ")");
    add(text("backend", std::string(name_of(choice.back_end)), because));
    if (choice.back_end == BackEnd::kLibssh2) add_key_exchange();
    if (options.family != AddressFamily::kAny || settings_.address_family != "any")
      add(text("address_family", settings_.address_family,
               source("addressfamily", options.family != AddressFamily::kAny,
                      options.family == AddressFamily::kIpv4 ? "-4" : "-6")));
    add_if_set("bind_address", settings_.bind_address, "bindaddress");
    add_if_set("bind_interface", settings_.bind_interface, "bindinterface");
    if (!settings_.proxy_jump.empty())
      add(text("proxy_jump", settings_.proxy_jump,
               step_.options.jumps.empty() ? source("proxyjump") : asker_of_hops()));
    add_if_set("proxy_command", settings_.proxy_command, "proxycommand");
    add_if_set("control_path", settings_.control_path, "controlpath");
  }

  void add_relay() {
    add(text(
        "mode", "relay",
        cat(step_.hop,
            " connects, and passes on what it says and hears: it is trusted with what lies beneath it")));
    add(text("backend", "openssh",
             cat("the ssh of ", step_.hop, ", told to read no configuration",
                 step_.may_tunnel ? "; if it has none, a tunnel through it" : "")));
    add(text(
        "signing", "here",
        step_.trusts_hop
            ? cat("--trust-hop: for one login of this user, wherever ", step_.hop, " says it is")
            : "for one login of this user, at the host whose key is known here: that ssh has to prove it "
              "(OpenSSH 8.9; --trust-hop does without)"));
    for (const auto& [name, value] :
         {std::pair("proxy_jump", settings_.proxy_jump), std::pair("proxy_command", settings_.proxy_command)})
      if (!value.empty())
        add(text(name, "", cat(value, " of the configuration is not followed: the path says the way")));
  }

  // The back end must not weaken it behind anybody's back: ssh prefers one that libssh2 does not know.
  void add_key_exchange() {
    const std::vector<std::string>& wanted = settings_.kex_algorithms;
    const std::vector<std::string> common = common_with_libssh2("KexAlgorithms", wanted);
    if (common.empty()) return;
    add(text("key_exchange", common.front(),
             common.front() == wanted.front()
                 ? source("kexalgorithms")
                 : cat("libssh2 does not know ", wanted.front(), ", which ssh would offer first")));
  }

  void add_host_keys() {
    const SshOptions& options = step_.options;
    add(host_key_checking());
    add_if_set("host_key_alias", settings_.host_key_alias, "hostkeyalias");
    const bool by_option = !options.known_hosts.empty();
    std::vector<std::string> files = settings_.user_known_hosts;
    files.insert(files.end(), settings_.global_known_hosts.begin(), settings_.global_known_hosts.end());
    const bool are_usual = is_usual("userknownhostsfile") && is_usual("globalknownhostsfile");
    add_list("known_hosts", std::move(files),
             by_option   ? "--known-hosts"
             : are_usual ? usual()
                         : configuration());
    std::vector<std::string> types;
    for (const KnownHostKey& key : step_.facts.known)
      types.push_back(key.is_authority ? cat("@cert-authority ", key.type) : key.type);
    std::string because = "these files know them";
    if (types.empty())
      because = accepts_new() && step_.hop.empty() ? "none is known: the first one seen will be believed"
                                                   : "none is known: the host will be refused";
    add_list("host_key_types", std::move(types), std::move(because));
  }

  PlanChoice host_key_checking() const {
    if (!step_.hop.empty())
      return text("host_key_checking", "strict",
                  cat("with the keys that are known here, sent to ", step_.hop));
    const std::string& configured = settings_.strict_host_key_checking;
    if (accepts_new()) return text("host_key_checking", "accept-new", "--accept-new");
    if (configured == "accept-new" || configured == "false")
      return text("host_key_checking", "strict",
                  cat("an unknown key is believed with --accept-new only; StrictHostKeyChecking ", configured,
                      " of the configuration is not followed"));
    return text("host_key_checking", "strict", std::string(kDefault));
  }

  void add_keys() {
    const bool by_option = !step_.options.identity.empty();
    const std::string because = source("identityfile", by_option, "--identity");
    std::vector<std::string> files, kinds;
    for (const KeyFile& key : step_.facts.keys) {
      // Of the names that ssh tries when it is told none, those that are there.
      if (!by_option && is_usual("identityfile") && key.kind == KeyKind::kMissing) continue;
      files.push_back(key.path);
      kinds.emplace_back(banyan::name_of(key.kind));
    }
    add_list("identity_files", std::move(files), because, std::move(kinds));
    if (settings_.identities_only)
      add({"identities_only", Kind::kFlag, {"yes"}, source("identitiesonly", by_option, "--identity")});
    if (!settings_.certificate_files.empty())
      add_list("certificate_files", settings_.certificate_files, source("certificatefile"));
    add(text("key_agent", settings_.key_agent,
             is_usual("identityagent") ? "SSH_AUTH_SOCK" : source("identityagent")));
  }

  const SshStep& step_;
  const SshSettings& settings_;
  TargetPlan::Step made_;
};

}  // namespace

TargetPlan::Step local_step(const std::string& name, std::string_view hop) {
  const std::string why(kTarget);
  const bool is_first = hop.empty();
  return {text("name", name, why),
          text("method", "local", why),
          text("host", "", is_first ? "this machine" : cat("the machine of ", hop)),
          text("user", "", is_first ? "our own user" : cat("the user of ", hop)),
          {"port", Kind::kNumber, {}, "a pipe has none"},
          is_first ? text("mode", "direct", why)
                   : text("mode", "relay", cat(hop, " starts it, and passes on what it says and hears")),
          text("backend", "", "a pipe needs none")};
}

TargetPlan::Step become_step(const std::string& name, Method method, const std::string& user,
                             std::string_view hop, std::string_view because) {
  const bool is_su = method == Method::kSu;
  std::string line;
  for (const std::string& word : is_su                     ? su_argv(user, "...")
                                 : method == Method::kDoas ? doas_argv(user, "...")
                                                           : sudo_argv(user, "..."))
    if (word != "-n") line += cat(line.empty() ? "" : " ", word);
  const std::string who(because.empty() ? kTarget : because);
  TargetPlan::Step step = local_step(name, hop);
  for (PlanChoice& choice : step) {
    if (choice.because == kTarget) choice.because = who;
    if (choice.key == "method") choice.values = {std::string(method_name(method))};
    if (choice.key == "user") choice = text("user", user, who);
  }
  step.push_back(
      text("command", line, hop.empty() ? "run by our own user" : cat("run by the user of ", hop)));
  step.push_back(text("password", is_su ? cat("of ", user) : std::string("of who runs it"),
                      cat("if ", method_name(method), " wants one: asked for then, or before all with -K")));
  return step;
}

TargetPlan::Step container_step(const ContainerTarget& target, std::string_view hop) {
  const std::string runner = hop.empty() ? "run by our own user" : cat("run by the user of ", hop);
  const std::string_view engine = banyan::name_of(target.engine);
  TargetPlan::Step step = local_step(target.name, hop);
  for (PlanChoice& choice : step) {
    if (choice.key == "method") choice.values = {std::string(engine)};
    if (choice.key == "user")
      choice = target.user.empty() ? text("user", "", "the container's own")
                                   : text("user", target.user, std::string(kTarget));
  }
  const std::vector<std::string> lookup = lookup_words(target), exec = exec_words(target, "...");
  const std::string otherwise = "where its first process is not of this machine, or may not be entered";
  if (lookup.empty()) {
    step.push_back(text("way", "exec",
                        target.user.empty()
                            ? cat(engine, " does not say whose process leads it, or is elsewhere")
                            : "which number that user has in there only the engine knows"));
  } else if (exec.empty()) {
    step.push_back(text("way", "namespaces", "of that process; there is no other"));
  } else {
    step.push_back(text("way", "namespaces, else exec", otherwise));
  }
  if (target.engine != Engine::kNsenter && !lookup.empty())
    step.push_back(text("lookup", joined(lookup), runner));
  if (!exec.empty()) step.push_back(text("command", joined(exec), runner));
  return step;
}

TargetPlan::Step ssh_step(const SshStep& step) {
  return Maker(step).make();
}

}  // namespace banyan::cli
