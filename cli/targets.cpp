#include "cli/targets.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "cli/printable.h"
#include "cli/target_names.h"
#include "core/assert.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

// "sudo:postgres", or "sudo" for root.
constexpr Method kBecomeMethods[] = {Method::kSudo, Method::kSu, Method::kDoas};

bool is_plain(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

std::uint16_t parse_port(std::string_view name, std::string_view digits) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) {
    refuse_target(name,
                  cat("'", printable(digits),
                      "' is not a port: a number from 1 to 65535 (a container is docker:NAME or the like)"));
  }
  return port;
}

// "fe80::1%eth0": what stands before the zone must be an address, as ssh reads it.
void check_address(std::string_view name, std::string_view address) {
  std::size_t percent = address.find('%');
  std::string_view zone = percent == std::string_view::npos ? "" : address.substr(percent + 1);
  in6_addr ignored;
  bool good = inet_pton(AF_INET6, std::string(address.substr(0, percent)).c_str(), &ignored) == 1;
  if (percent != std::string_view::npos) good = good && !zone.empty() && std::ranges::all_of(zone, is_plain);
  if (!good) refuse_target(name, cat("'", printable(address), "' is not an IPv6 address"));
}

bool is_local_name(std::string_view name) {
  constexpr std::string_view kLocal = "local";
  return name.starts_with(kLocal) && std::ranges::all_of(name.substr(kLocal.size()), is_digit);
}

std::optional<Method> become_method(std::string_view name) {
  for (const Method method : kBecomeMethods) {
    const std::string_view word = method_name(method);
    if (name.starts_with(word) && (name.size() == word.size() || name[word.size()] == ':')) return method;
  }
  return std::nullopt;
}

// Nobody is called by digits only, and who means a port of a host would become somebody.
void check_become_user(std::string_view user) {
  check_user(user);
  if (std::ranges::all_of(user, is_digit))
    throw UsageError(cat("user '", user, "': a name is wanted, not a number"));
}

Target parse_become(std::string_view name, Method method) {
  Target target;
  target.name = name;
  target.method = method;
  const std::string_view word = method_name(method);
  target.user = name.size() == word.size() ? "root" : name.substr(word.size() + 1);
  check_user(target.user);
  if (std::ranges::all_of(target.user, is_digit))
    refuse_target(name, cat(word, ":USER takes a user's name; a host called ", word, " is ssh:", name));
  return target;
}

// What stands before a container's name in that of a target; null: it is none.
const Engine* engine_of(std::string_view name) {
  static constexpr Engine kEngines[] = {Engine::kDocker, Engine::kPodman, Engine::kKubectl, Engine::kLxc,
                                        Engine::kLxd,    Engine::kIncus,  Engine::kNspawn,  Engine::kNsenter};
  const std::string_view method = name.substr(0, name.find(':'));
  if (method.size() == name.size()) return nullptr;
  const auto found = std::ranges::find(kEngines, method, [](Engine engine) { return name_of(engine); });
  return found == std::end(kEngines) ? nullptr : found;
}

// "docker:app", "docker:user@app", "kubectl:NAMESPACE:POD:CONTAINER", "nsenter:PID".
Target parse_container(std::string_view name, Engine engine) {
  Target target;
  target.name = name;
  target.method = Method::kContainer;
  target.engine = engine;
  const std::string_view method = name_of(engine);
  std::string_view rest = name.substr(method.size() + 1);
  if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
    target.user = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    if (!takes_user(engine)) refuse_target(name, cat(method, " runs nothing as another user"));
    check_user(target.user);
  }
  target.container = rest;
  if (is_container_name(engine, rest)) return target;
  if (engine == Engine::kNsenter) refuse_target(name, "nsenter:PID takes the number of a process");
  if (!rest.empty() && std::ranges::all_of(rest, is_digit))
    refuse_target(name, cat("'", printable(rest), "' may be a port: a host called ", method, " is ssh:", name,
                            ", and a container has a name, or a longer number"));
  refuse_target(name,
                engine == Engine::kKubectl
                    ? std::string("kubectl:POD, kubectl:NAMESPACE:POD or kubectl:NAMESPACE:POD:CONTAINER, of "
                                  "letters, digits and . _ -")
                    : std::string("a container's name is made of letters, digits and . _ -, and begins "
                                  "with a letter or a digit"));
}

// "ssh:22" is a host called ssh, as "web1:22" is one called web1.
bool says_ssh(std::string_view name) {
  return name.starts_with(kSshMethod) && !std::ranges::all_of(name.substr(kSshMethod.size()), is_digit);
}

// One component.
Target parse_step(const std::string& name) {
  if (name.size() > kTargetNameMax) refuse_target(name, cat("longer than ", kTargetNameMax, " characters"));
  if (const std::optional<Method> method = become_method(name)) return parse_become(name, *method);
  if (const Engine* engine = engine_of(name)) return parse_container(name, *engine);
  Target target;
  target.name = name;
  std::string_view rest = name;
  const bool is_host = says_ssh(name);  // whatever it is called
  if (is_host) rest.remove_prefix(kSshMethod.size());
  if (std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    target.user = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    check_user(target.user);
  }
  std::string_view port;
  bool has_port = false;
  if (rest.starts_with('[')) {
    std::size_t close = rest.find(']');
    if (close == std::string_view::npos) refuse_target(name, "'[' without ']'");
    target.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
    check_address(name, target.host);
    if (!rest.empty() && rest.front() != ':')
      refuse_target(name, "after ']' only a port may follow: [::1]:22");
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
  } else if (std::ranges::count(rest, ':') >= 2) {
    target.host = rest;
    check_address(name, target.host);
  } else {
    std::size_t colon = rest.find(':');
    target.host = rest.substr(0, colon);
    has_port = colon != std::string_view::npos;
    if (has_port) port = rest.substr(colon + 1);
    if (target.host.empty()) refuse_target(name, "no host");
    if (target.host.front() == '-') refuse_target(name, "a host must not begin with '-'");
    if (!std::ranges::all_of(target.host, is_plain))
      refuse_target(name, "a host is made of letters, digits and . _ -");
  }
  if (has_port) target.port = parse_port(name, port);
  if (!is_host && is_local_name(target.host)) {
    if (!target.user.empty() || has_port)
      refuse_target(name, "'local' is this machine and takes neither user nor port");
    target.method = Method::kLocal;
    target.host.clear();
  }
  return target;
}

// Takes paths apart. What lies beneath the same hop shares it.
class Parser {
 public:
  Target parse(const std::string& path) {
    if (path.size() > kTargetPathMax) refuse_target(path, cat("longer than ", kTargetPathMax, " characters"));
    if (std::size_t(std::ranges::count(path, '/')) >= kPathDepthMax)
      refuse_target(path, cat("more than ", kPathDepthMax, " contexts"));
    const std::size_t slash = path.rfind('/');
    if (slash == path.npos) return parse_step(path);
    const std::string last = path.substr(slash + 1), above = path.substr(0, slash);
    if (last.empty() || above.empty()) refuse_target(path, "an empty name beside a '/'");
    Target target = parse_step(last);
    target.hop = hop(above);
    target.name = path;
    return target;
  }

 private:
  std::shared_ptr<const Target> hop(const std::string& path) {
    if (const auto found = hops_.find(path); found != hops_.end()) return found->second;
    auto made = std::make_shared<const Target>(parse(path));
    hops_.emplace(path, made);
    return made;
  }

  std::unordered_map<std::string, std::shared_ptr<const Target>> hops_;
};

// Two ways to write the same name are one to -x.
std::string plain_name(const Target& target) {
  // Most names are plain.
  const auto has = [&target](std::string_view word) { return target.name.find(word) != std::string::npos; };
  if (!has(kSshMethod) &&
      !std::ranges::any_of(kBecomeMethods, [&](Method method) { return has(method_name(method)); }))
    return target.name;
  std::string name = last_name(target);
  if (is_become(target)) name = cat(method_name(target.method), ":", target.user);
  if (target.method == Method::kSsh && says_ssh(name)) {
    const std::string_view rest = std::string_view(name).substr(kSshMethod.size());
    if (!become_method(rest) && !is_local_name(rest) && !says_ssh(rest)) name = std::string(rest);
  }
  return target.hop ? cat(plain_name(*target.hop), "/", name) : name;
}

// The name of a container, whoever one is in there.
std::string container_name(const Target& target) {
  const std::string name = cat(name_of(target.engine), ":", target.container);
  return target.hop ? cat(plain_name(*target.hop), "/", name) : name;
}

// What -x says. A bare host is meant whatever the user and the port: who leaves out "web1" must not find that
// "root@web1" was contacted.
class Exclusion {
 public:
  explicit Exclusion(std::string_view expression) {
    if (expression.empty()) return;
    list_ = expand_targets(expression);
    Parser parser;
    for (const std::string& name : list_.names) {
      // Taken apart, so that a slip in -x is an error, and not a host that is contacted after all.
      const Target target = parser.parse(name);
      if (target.user.empty() && target.port == 0 && target.method == Method::kSsh)
        hosts_.emplace(target.host, name);
      names_[plain_name(target)].push_back(name);
    }
  }

  // What lies beneath one that is left out is left out, too: it is not to be contacted.
  bool covers(const Target& target) {
    const bool by_hop = target.hop && covers(*target.hop);
    auto by_name = names_.empty() ? names_.end() : names_.find(plain_name(target));
    if (by_name == names_.end() && target.method == Method::kContainer)
      by_name = names_.find(container_name(target));
    const auto by_host = target.method == Method::kSsh ? hosts_.find(target.host) : hosts_.end();
    if (by_name != names_.end()) used_.insert(by_name->second.begin(), by_name->second.end());
    if (by_host != hosts_.end()) used_.insert(by_host->second);
    return by_hop || by_name != names_.end() || by_host != hosts_.end();
  }

  // The items, as written, that covered none so far.
  std::vector<std::string> unused() const {
    std::vector<std::string> items;
    std::size_t begin = 0;
    for (const TargetNames::Item& item : list_.items) {
      bool used = false;
      for (; begin < item.end; ++begin) used = used || used_.contains(list_.names[begin]);
      if (!used) items.emplace_back(item.text);
    }
    return items;
  }

 private:
  TargetNames list_;
  std::unordered_set<std::string> used_;
  std::unordered_map<std::string, std::vector<std::string>> names_;  // plain ones, with how they were written
  std::unordered_map<std::string, std::string> hosts_;  // bare ones, with the name they were made of
};

}  // namespace

std::string_view method_name(Method method) {
  ASSERT(method == Method::kSudo || method == Method::kSu || method == Method::kDoas);
  return method == Method::kSudo ? "sudo" : method == Method::kSu ? "su" : "doas";
}

void become_everywhere(TargetSet& set, Method method, std::string_view user) {
  check_become_user(user);
  for (Target& target : set.targets) {
    Target made;
    made.shown = target.name;
    made.name = cat(target.name, "/", method_name(method), ":", user);
    if (made.name.size() > kTargetPathMax) refuse_target(made.name, "with -b it is too long");
    made.method = method;
    made.user = user;
    made.hop = std::make_shared<const Target>(std::move(target));
    target = std::move(made);
  }
}

void add_hops(TargetSet& set) {
  std::vector<Target> all;
  std::unordered_set<std::string> names;
  for (Target& target : set.targets) {
    std::vector<const Target*> path;
    for (const Target* at = &target; at != nullptr; at = at->hop.get()) path.push_back(at);
    for (auto at = path.rbegin(); at != path.rend(); ++at) {
      if (!names.insert((*at)->name).second) continue;
      if (all.size() == kTargetsMax)
        throw UsageError(cat("with the hops before them these are more than ", kTargetsMax, " targets"));
      all.push_back(**at);
      all.back().shown.clear();
    }
  }
  set.targets = std::move(all);
}

std::string last_name(const Target& target) {
  return target.hop ? target.name.substr(target.hop->name.size() + 1) : target.name;
}

void check_user(std::string_view user) {
  // '@' and '+' are in the user names of directory services. No shell and no token of ssh reads any of these.
  auto good = [](char c) { return is_plain(c) || c == '@' || c == '+'; };
  if (user.empty() || user.front() == '-' || !std::ranges::all_of(user, good)) {
    throw UsageError(cat("user '", printable(user.substr(0, kTargetNameMax)),
                         "': made of letters, digits and . _ - + @, and not beginning with '-'"));
  }
}

TargetSet parse_targets(std::string_view expression, std::string_view exclude) {
  TargetNames names = expand_targets(expression);
  Exclusion exclusion(exclude);
  std::unordered_set<std::string> seen;
  Parser parser;
  TargetSet set;
  set.one = names.literal;
  for (const std::string& name : names.names) {
    Target target = parser.parse(name);
    if (!seen.insert(name).second || exclusion.covers(target)) continue;
    set.targets.push_back(std::move(target));
  }
  set.not_excluded = exclusion.unused();
  if (set.targets.empty()) throw UsageError("no targets left: -x excludes them all");
  return set;
}

}  // namespace banyan::cli
