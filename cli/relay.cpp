#include "cli/relay.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "transports/libssh2.h"
#include "transports/relayed_ssh.h"

namespace banyan::cli {
namespace {

constexpr std::uint32_t kAttemptsMax = 8;  // at a server that drops us: some half a minute with its pauses
constexpr Nanos kDroppedMax = 30 * kSecond;
constexpr std::size_t kToldExcessesMax = 32;  // of one hop: a reason may have a word of its in it

Error cancelled() {
  return Error{ErrorClass::kCancelled, Phase::kResolve, "cancelled", {}};
}

// What a person would type to see for himself: through the same hosts, if they are such.
std::string by_hand(const Target& target, const SshOptions& ssh) {
  const std::optional<std::string> jumps = jumps_to(target, ssh);
  if (!jumps) return cat("on ", target.hop->name, ": ssh ", target.host, " true");
  const std::uint16_t port = target.port != 0 ? target.port : ssh.port;
  const std::string& user = target.user.empty() ? ssh.user : target.user;
  std::string line = "ssh";
  if (!ssh.config_file.empty()) line += cat(" -F ", ssh.config_file);
  if (!ssh.identity.empty()) line += cat(" -i ", ssh.identity);
  if (port != 0) line += cat(" -p ", port);
  if (!user.empty()) line += cat(" -l ", user);
  return cat(line, " -J ", *jumps, " ", target.host, " true");
}

}  // namespace

std::optional<std::string> jumps_to(const Target& target, const SshOptions& ssh) {
  std::string jumps;
  for (const Target* hop = target.hop.get(); hop != nullptr; hop = hop->hop.get()) {
    if (hop->method != Method::kSsh) return std::nullopt;
    const bool is_address = hop->host.find(':') != hop->host.npos;
    const std::string host = is_address && hop->port != 0 ? cat("[", hop->host, "]") : hop->host;
    jumps = cat(hop->user, hop->user.empty() ? "" : "@", host, hop->port == 0 ? "" : cat(":", hop->port),
                jumps.empty() ? "" : ",", jumps);
  }
  return ssh.jumps.empty() || ssh.jumps == "none" ? jumps : cat(ssh.jumps, ",", jumps);
}

Relay::Relay(Loop& loop, RemoteRunner& remote, RelayParts parts)
    : loop_(loop), remote_(remote), parts_(std::move(parts)), admission_(loop) {}

Relay::~Relay() {
  *alive_ = false;
}

Relay::Id Relay::start(ContextId at, const Target& target, ImageKind kind, Nanos left, Runner::OnUp on_up,
                       Runner::OnLost on_lost, WayRecord* record) {
  const Id id = next_++;
  Way& way = ways_[id];
  way.at = at;
  way.target = &target;
  way.kind = kind;
  way.began = parts_.secrets.machine_time();
  way.left = left;
  way.on_up = std::move(on_up);
  way.on_lost = std::make_shared<Runner::OnLost>(std::move(on_lost));
  way.record = record;
  if (!asked_defaults_) {
    asked_defaults_ = true;
    SshOptions none;
    none.config_file = "none";
    parts_.questions.ask({.name = {}, .user = {}, .host = "localhost"}, none,
                         [this, alive = alive_](const SshQuestions::Answer& answer) {
                           if (*alive) on_defaults(answer);
                         });
  }
  SshOptions options = parts_.ssh;
  options.jumps.clear();  // they are before the first of the path
  parts_.questions.ask({target.name, target.user, target.host, target.port}, options,
                       [this, alive = alive_, id](const SshQuestions::Answer& answer) {
                         if (*alive) on_settings(id, answer);
                       });
  return id;
}

void Relay::on_settings(Id id, const SshQuestions::Answer& answer) {
  Way& way = ways_.at(id);
  if (way.cancelled) return conclude(id, cancelled());
  if (!answer) return conclude(id, answer.error());
  way.settings = *answer;
  if (way.record != nullptr) {
    way.record->answered = loop_.now();
    way.record->settings = way.settings;
    way.record->known_keys = parts_.facts.about(*way.settings).known;
  }
  if (defaults_) prepare(id);
}

void Relay::on_defaults(const SshQuestions::Answer& answer) {
  defaults_ = answer;
  std::vector<Id> waiting;
  for (const auto& [id, way] : ways_)
    if (way.settings) waiting.push_back(id);
  for (const Id id : waiting) prepare(id);
}

void Relay::prepare(Id id) {
  Way& way = ways_.at(id);
  if (way.cancelled) return conclude(id, cancelled());
  way.known_hosts = parts_.facts.known_hosts_lines(*way.settings, alias_of(*way.settings));
  if (const auto cannot =
          cannot_relay(*way.settings, way.known_hosts, way.target->host, by_hand(*way.target, parts_.ssh)))
    return conclude(id, *cannot);
  if (!parts_.has_connector)
    return conclude(
        id, Error{ErrorClass::kRefused, Phase::kAuth, "banyan-connector, which signs for hops, is not there",
                  "install it beside banyan"});
  way.server = cat(way.target->hop->name, " ", way.settings->hostname, ":", way.settings->port);
  ask_admission(id, Admission::Place::kBack);
}

void Relay::ask_admission(Id id, Admission::Place place) {
  Way& way = ways_.at(id);
  way.ticket = admission_.ask(way.server, place, [this, id] { try_now(id, true); });
}

void Relay::try_now(Id id, bool may_guess) {
  Way& way = ways_.at(id);
  if (way.login == 0) way.login = parts_.secrets.open(way.target->name);
  SessionSettings session = session_settings(*way.settings, false, parts_.secrets.can_ask());
  session.environment.clear();  // of no use to who signs, and may be long
  auto signer = parts_.connectors.open_signer(session, parts_.trusts_hops, way.login);
  if (!signer) return conclude(id, signer.error());
  if (way.signer) tell_excesses(way);  // of the try before
  way.signer = std::move(*signer);
  ++way.attempts;
  if (way.record != nullptr) way.record->attempts = way.attempts;
  Nanos left = way.left;
  if (left > 0) left = std::max(left - (parts_.secrets.machine_time() - way.began), Nanos(kMillisecond));
  way.guess = may_guess ? parts_.cache.find(cache_key(*way.target)) : "";
  const SshSettings* defaults = defaults_ && *defaults_ ? (*defaults_)->get() : nullptr;
  Recipe recipe = relayed_ssh({last_name(*way.target), *way.settings, defaults, way.known_hosts},
                              loop_.random(), way.guess, left);
  recipe.kind = way.kind;
  recipe.extra().answerer = way.signer;
  way.start = remote_.start(
      way.at, std::move(recipe),
      [this, alive = alive_, id](const Result<Child>& child) {
        if (*alive) on_up(id, child);
      },
      [on_lost = way.on_lost](ContextId child, const Error& error) { (*on_lost)(child, error); });
}

void Relay::on_up(Id id, Result<Child> child) {
  Way& way = ways_.at(id);
  way.start = 0;
  if (child) tell_excesses(way);
  // A hop may say so as often as it likes: once.
  if (!child && child.error().wrong_guess && !way.guess.empty() && !way.cancelled &&
      !std::exchange(way.guessed_wrong, true)) {
    parts_.cache.forget(cache_key(*way.target));
    return try_now(id, false);
  }
  if (way.ticket) {
    using Outcome = Admission::Outcome;
    admission_.give_back(*std::exchange(way.ticket, {}), child                    ? Outcome::kPassed
                                                         : is_drop(child.error()) ? Outcome::kDropped
                                                                                  : Outcome::kFailed);
  }
  if (!child && !way.cancelled && try_again(id, child.error())) return;
  if (child) parts_.cache.learn(cache_key(*way.target), child->hello.architecture);
  if (!child) {
    child = told(way, child.error());
    tell_excesses(way, child.error().text);
  }
  conclude(id, child);
}

// Nothing has begun there, and no key of ours has signed: what a hop says alone makes no second signature.
bool Relay::try_again(Id id, const Error& error) {
  Way& way = ways_.at(id);
  const Nanos passed = parts_.secrets.machine_time() - way.began;
  if (way.signer->has_signed() || (way.left > 0 && passed >= way.left)) return false;
  const bool is_dropped = is_drop(error) && passed < kDroppedMax && way.attempts < kAttemptsMax;
  if (!is_dropped && !(way.signer->is_over() && !std::exchange(way.lost_before, true))) return false;
  ask_admission(id, Admission::Place::kFront);
  return true;
}

// But for what is `said` already.
void Relay::tell_excesses(const Way& way, std::string_view said) {
  if (!parts_.notice) return;
  const std::string& hop = shown_name(*way.target->hop);
  std::set<std::string>& told = told_excesses_[hop];
  for (const std::string& why : way.signer->excesses()) {
    if (said.find(why) != said.npos || told.size() > kToldExcessesMax || !told.insert(why).second) continue;
    parts_.notice(told.size() > kToldExcessesMax
                      ? cat(hop, ": asked our keys for still more, which is not told")
                      : cat(hop, ": asked our keys for more than the login to ", shown_name(*way.target),
                            ", and was refused: ", why));
  }
}

Error Relay::told(const Way& way, Error error) const {
  error.started = Started::kNo;
  const std::string_view refusal = way.signer ? std::string_view(way.signer->refusal()) : std::string_view();
  error = error_of_relayed_ssh(std::move(error), way.target->hop->name, by_hand(*way.target, parts_.ssh),
                               refusal);
  if (way.attempts > 1) error.text = cat(error.text, " (", way.attempts, " attempts)");
  return error;
}

void Relay::conclude(Id id, const Result<Child>& child) {
  const auto found = ways_.find(id);
  Way way = std::move(found->second);
  ways_.erase(found);
  if (way.ticket) admission_.give_back(*way.ticket, Admission::Outcome::kFailed);
  if (way.login != 0) {
    if (child) parts_.secrets.accepted(way.login);
    way.signer.reset();
    parts_.secrets.close(way.login);
  }
  way.on_up(child);
}

void Relay::cancel(Id id) {
  const auto found = ways_.find(id);
  if (found == ways_.end() || std::exchange(found->second.cancelled, true)) return;
  Way& way = found->second;
  if (way.start != 0) return remote_.cancel(way.start);
  if (!way.ticket) return;  // ssh answers soon
  admission_.give_back(*std::exchange(way.ticket, {}), Admission::Outcome::kFailed);
  loop_.post([this, alive = alive_, id] {
    if (*alive) conclude(id, cancelled());
  });
}

bool Relay::is_waiting(Id id) const {
  const auto found = ways_.find(id);
  return found != ways_.end() && found->second.ticket && admission_.is_waiting(*found->second.ticket);
}

bool Relay::is_asking_for_settings(Id id) const {
  const auto found = ways_.find(id);
  return found != ways_.end() && !found->second.settings;
}

// The name may mean another host behind another hop, or with another configuration.
std::string Relay::cache_key(const Target& target) const {
  std::string key = cat(target.name, " ", target.port != 0 ? target.port : parts_.ssh.port);
  if (!parts_.ssh.config_file.empty()) key += cat(" ", parts_.ssh.config_file);
  return key;
}

}  // namespace banyan::cli
