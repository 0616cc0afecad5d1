#include "transports/openssh.h"

#include <algorithm>
#include <span>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "transports/jump.h"
#include "transports/openssh_log.h"
#include "transports/remedies.h"
#include "transports/stage0_recipe.h"

namespace banyan {
namespace {

constexpr Nanos kConnectDeadline = 10 * kSecond;  // TCP and the first line of the server, as ssh counts it

// ssh takes whole seconds, and 0 would mean none.
std::int64_t connect_seconds(const SshOptions& options) {
  Nanos limit = options.tcp_timeout > 0 ? options.tcp_timeout : kConnectDeadline;
  if (options.connect_timeout > 0) limit = std::min(limit, options.connect_timeout);
  return (limit + kSecond - 1) / kSecond;
}

constexpr std::string_view kKey =
    "check the user (-l) and the key (--identity, ssh-add -l); a password is asked for where there is a "
    "terminal";
constexpr std::string_view kAccount = "the account must allow commands without a terminal";
constexpr std::string_view kConfiguration = "see what ssh -G says about this host";
constexpr std::string_view kJump = "check the jump host that -J or ssh's configuration names";

std::string connect_timeout(const SshOptions& options) {
  return cat("ConnectTimeout=", connect_seconds(options));
}

constexpr std::string_view kNoQuestion = "BatchMode=yes";
std::string_view host_key_checking(const SshOptions& options) {
  return options.accept_new ? "StrictHostKeyChecking=accept-new" : "StrictHostKeyChecking=yes";
}

struct Row {
  std::string_view text;
  Phase phase;
  ErrorClass error_class;
  std::string_view remedy;
};

std::vector<Symptom> symptoms_of(std::span<const Row> rows) {
  std::vector<Symptom> made;
  for (const Row& row : rows)
    made.push_back({std::string(row.text), row.phase, row.error_class, std::string(row.remedy)});
  return made;
}

}  // namespace

bool quote_ssh_path(std::string_view path, std::string& quoted) {
  quoted.clear();
  bool blank = false;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ' || path.substr(i, 2) == "${")
      return false;
    blank = blank || c == ' ' || c == '#' || c == '\'' || c == '=' || c == ',';
    quoted += c;
    if (c == '%') quoted += '%';
  }
  if (blank) quoted = cat('"', quoted, '"');
  return !path.empty();
}

void append_ssh_target(const SshTarget& target, const SshOptions& options, std::vector<std::string>& argv) {
  ASSERT(!target.host.empty() && target.host.front() != '-');
  auto option = [&](std::string_view text) {
    argv.emplace_back("-o");
    argv.emplace_back(text);
  };
  auto file_option = [&](std::string_view name, std::string_view path) {
    std::string quoted;
    ASSERT(quote_ssh_path(path, quoted));
    option(cat(name, "=", quoted));
  };
  if (!options.config_file.empty()) {
    argv.emplace_back("-F");
    argv.push_back(options.config_file);
  }
  if (options.jumps == "none") {
    // Means both, in all versions; with ProxyJump=none newer ones obey a ProxyCommand of the configuration.
    option("ProxyCommand=none");
  } else if (!options.jumps.empty()) {
    ASSERT(options.jumps.front() != '-');
    argv.emplace_back("-J");
    argv.push_back(options.jumps);
  }
  if (options.family != AddressFamily::kAny)
    argv.emplace_back(options.family == AddressFamily::kIpv4 ? "-4" : "-6");
  const std::string& user = target.user.empty() ? options.user : target.user;
  if (!user.empty()) {
    argv.emplace_back("-l");
    argv.push_back(user);
  }
  const std::uint16_t port = target.port == 0 ? options.port : target.port;
  if (port != 0) {
    argv.emplace_back("-p");
    argv.push_back(cat(port));
  }
  // A connection that was there before was made with another key, or believed another file, or leads to
  // whoever has that name on another way.
  if (!options.identity.empty() || !options.known_hosts.empty() || !options.jumps.empty())
    option("ControlPath=none");
  if (!options.identity.empty()) {
    file_option("IdentityFile", options.identity);
    option("IdentitiesOnly=yes");
  }
  if (!options.known_hosts.empty()) {
    file_option("UserKnownHostsFile", options.known_hosts);
    option("GlobalKnownHostsFile=/dev/null");
  }
  argv.emplace_back("--");
  argv.push_back(target.host);
}

std::vector<std::string> openssh_argv(const SshTarget& target, const SshOptions& options,
                                      std::string_view remote_command) {
  std::vector<std::string> argv = {"ssh", "-e", "none", "-T"};
  auto option = [&](std::string_view text) {
    argv.emplace_back("-o");
    argv.emplace_back(text);
  };
  // A pipe and nothing else: no unknown key, no forwarding, no command of the configuration's; and no
  // question that nobody answers.
  if (!options.may_ask) option(kNoQuestion);
  option(host_key_checking(options));
  option("ForwardAgent=no");
  option("ForwardX11=no");
  option("ClearAllForwardings=yes");
  option("Tunnel=no");
  option("PermitLocalCommand=no");
  option("RemoteCommand=none");
  if (options.knows_session_type) {
    option("SessionType=default");
    option("StdinNull=no");
  }
  // A silent peer is found here as well as by our own heartbeat: then ssh itself ends too.
  option("ServerAliveInterval=5");
  option("ServerAliveCountMax=3");
  // Behind a jump host it would count the time of whoever is asked for that one's password.
  const bool counts_a_person = !options.jump_program.empty() && options.may_ask;
  option(counts_a_person ? "ConnectTimeout=none" : connect_timeout(options));
  // A quiet configuration must not keep from us why it failed.
  option(options.tells_phases ? "LogLevel=DEBUG1" : "LogLevel=INFO");
  append_ssh_target(target, options, argv);
  argv.emplace_back(remote_command);
  return argv;
}

std::vector<std::string> accepted_host_keys(std::string_view said) {
  std::vector<std::string> lines;
  while (!said.empty()) {
    const std::size_t end = std::min(said.find('\n'), said.size());
    std::string_view line = said.substr(0, end);
    said.remove_prefix(std::min(end + 1, said.size()));
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find("Permanently added") != std::string_view::npos) lines.emplace_back(line);
  }
  return lines;
}

const std::vector<Symptom>& account_symptoms() {
  static const std::vector<Symptom> symptoms = [] {
    using P = Phase;
    using C = ErrorClass;
    constexpr Row kRows[] = {
        {"assword has expired", P::kShell, C::kAuth, "log in by hand once and change the password"},
        {"Password change required", P::kShell, C::kAuth, "log in by hand once and change the password"},
        {"account is currently not available", P::kShell, C::kRefused, kAccount},
        {"allows sftp connections only", P::kShell, C::kRefused, kAccount},
    };
    return symptoms_of(kRows);
  }();
  return symptoms;
}

const std::vector<Symptom>& openssh_symptoms() {
  using P = Phase;
  using C = ErrorClass;
  static const std::vector<Symptom> symptoms = [] {
    constexpr Row kFirst[] = {
        // What ssh says of its own settings.
        {"Bad configuration option", P::kResolve, C::kIo, kConfiguration},
        {"Bad owner or permissions on", P::kResolve, C::kIo, kConfiguration},
        {"Can't open user config file", P::kResolve, C::kIo, kConfiguration},
        {"unsupported option", P::kResolve, C::kIo, kConfiguration},
        {"keyword value", P::kResolve, C::kIo, kConfiguration},
        {"jumphost loop via", P::kResolve, C::kIo, "a jump host is not reached through itself"},
        // A jump host failed: the lines about our own connection that follow are only its consequence.
        {"open failed: connect failed", P::kConnect, C::kUnreachable, kJump},
        {"open failed: administratively prohibited", P::kConnect, C::kRefused, kJump},
        {"stdio forwarding failed", P::kConnect, C::kUnreachable, kJump},
        // Host keys, before the general line that follows them.
        {"has changed and you have requested strict checking", P::kKex, C::kHostKey, kChangedKey},
        {"REMOTE HOST IDENTIFICATION HAS CHANGED", P::kKex, C::kHostKey, kChangedKey},
        {"POSSIBLE DNS SPOOFING DETECTED", P::kKex, C::kHostKey, kNewKey},
        {"REVOKED HOST KEY", P::kKex, C::kHostKey,
         "this key must not be used any more: ask who runs the host"},
        {"host key is known for", P::kKex, C::kHostKey, kNewKey},
        {"Host key verification failed", P::kKex, C::kHostKey, kNewKey},
        {"no matching host key type found", P::kKex, C::kHostKey, kConfiguration},
        {"Unable to negotiate with", P::kKex, C::kProtocol,
         "the server knows only old algorithms: allow one for this host in ssh's configuration"},
        // Names and addresses.
        {"Could not resolve hostname", P::kResolve, C::kUnreachable, "check the name"},
        {"during banner exchange", P::kConnect, C::kTimeout,
         "something listens there that does not answer as sshd"},
        {": Connection refused", P::kConnect, C::kUnreachable, kReach},
        {": Connection timed out", P::kConnect, C::kTimeout, kReach},
        {": Operation timed out", P::kConnect, C::kTimeout, kReach},
        {": No route to host", P::kConnect, C::kUnreachable, kReach},
        {": Network is unreachable", P::kConnect, C::kUnreachable, kReach},
        {"ssh: connect to host", P::kConnect, C::kUnreachable, kReach},
        // Who we are.
        {"are too open", P::kAuth, C::kAuth, "chmod 600 the key, if that is a file of its owner"},
        {"agent refused operation", P::kAuth, C::kAuth, "the key agent did not sign: ssh-add -l"},
        {"Too many authentication failures", P::kAuth, C::kAuth,
         "the key agent holds many keys: name one with --identity"},
        {"account has expired", P::kAuth, C::kAuth, "ask who runs the host"},
        {"Account expired", P::kAuth, C::kAuth, "ask who runs the host"},
        {"Permission denied (", P::kAuth, C::kAuth, kKey},
        {"No supported authentication methods", P::kAuth, C::kAuth, kKey},
    };
    constexpr Row kLast[] = {
        // What the account runs.
        {"request failed on channel", P::kShell, C::kRefused, kAccount},
        {"Session open refused by peer", P::kShell, C::kResource,
         "raise MaxSessions there, or do without a shared connection"},
        // Cut off. The last, because many lines above are followed by one of these: so is whatever ssh says
        // of a jump host, which it reaches through a second ssh.
        {"banner exchange:", P::kKex, C::kProtocol, "what listens there is not sshd: check the port"},
        {"kex_exchange_identification:", P::kKex, C::kRefused, kCrowded},
        {"ssh_exchange_identification:", P::kKex, C::kRefused, kCrowded},
        {"ssh_dispatch_run_fatal", P::kKex, C::kProtocol, kConfiguration},
        {"Received disconnect from", P::kAuth, C::kRefused, "the server's log says why"},
        {"Timeout, server", P::kShell, C::kLost, kReach},
        {"closed by remote host", P::kShell, C::kLost, "the server's log says why"},
        {"Connection closed by", P::kAuth, C::kRefused, "the server's log says why"},
        // So it says only once it has been let in.
        {"Read from remote host", P::kShell, C::kLost, kReach},
        {"client_loop:", P::kShell, C::kLost, kReach},
        // While keys are exchanged, or while it logs in: it does not say which. A server ends a login in
        // order; who cuts it off without a word does so at what he does not like about the first packets.
        {"Connection reset by", P::kKex, C::kLost, kCrowded},
        {"Broken pipe", P::kAuth, C::kLost, kReach},
    };
    std::vector<Symptom> made = symptoms_of(kFirst);
    for (const std::vector<Symptom>& more : {account_symptoms(), symptoms_of(kLast)})
      made.insert(made.end(), more.begin(), more.end());
    return made;
  }();
  return symptoms;
}

Recipe openssh(const SshTarget& target, const SshOptions& options, std::uint64_t nonce,
               std::string_view architecture) {
  Recipe recipe = stage0_recipe(target.name, "ssh", nonce, architecture, options.connect_timeout);
  recipe.argv = openssh_argv(target, options, stage0_command(nonce, architecture));
  if (!options.jump_program.empty()) {
    recipe.argv.front() = options.jump_program;
    recipe.environment.emplace_back(
        kJumpVariable, cat(host_key_checking(options), " LogLevel=INFO ", connect_timeout(options),
                           options.may_ask ? "" : cat(" ", kNoQuestion)));
  }
  recipe.symptoms = openssh_symptoms();
  recipe.deadlines.until_ready += std::max(options.tcp_timeout, kConnectDeadline) - kConnectDeadline;
  if (options.tells_phases) recipe.asides = kStepMark;
  return recipe;
}

}  // namespace banyan
