#include "cli/reach.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "cli/options.h"
#include "cli/recipes.h"
#include "core/text.h"
#include "transports/jump.h"
#include "transports/local.h"

namespace banyan::cli {
namespace {

// "2s", "250ms"
std::string duration_text(Nanos time) {
  return time % kSecond == 0 ? cat(time / kSecond, "s") : cat(time / kMillisecond, "ms");
}

// A host that does not answer holds up nobody after this. Of ssh we do not see whether it has an answer: it
// may as well be busy, so it is given more.
constexpr Nanos kSilentAfter = kSecond, kOpaqueAfter = 5 * kSecond;

// Of those that a server drops: a server that let others in may do so again; one that never did may be no
// sshd at all, and its person waits.
constexpr std::uint32_t kAttemptsMax = 20, kStrangerMax = 4;
constexpr Nanos kDroppedMax = 30 * kSecond;
// So often a server may hang up while a person answers others: each time another question is answered, and
// a person gives up sooner.
constexpr std::uint32_t kHungUpMax = 100;

bool is_ssh(const Target& target) {
  return target.method == Method::kSsh;
}

std::string own_architecture() {
  utsname machine;
  return ::uname(&machine) == 0 ? machine.machine : "";
}

std::string own_locale() {
  const char* locale = std::getenv("LC_ALL");
  return locale != nullptr ? locale : "";
}

Error cancelled() {
  return Error{ErrorClass::kCancelled, Phase::kResolve, "cancelled", {}};
}

// What a person would type to see for himself.
std::string by_hand(const Target& target, const SshOptions& ssh) {
  std::string line = "ssh";
  const std::string& user = target.user.empty() ? ssh.user : target.user;
  const std::uint16_t port = target.port == 0 ? ssh.port : target.port;
  if (!ssh.config_file.empty()) line += cat(" -F ", ssh.config_file);
  if (!ssh.jumps.empty()) line += cat(" -J ", ssh.jumps);
  if (!ssh.identity.empty()) line += cat(" -i ", ssh.identity);
  if (port != 0) line += cat(" -p ", port);
  if (!user.empty()) line += cat(" -l ", user);
  return cat(line, " ", target.host, " true");
}

// What a connection to this host meets first. The text is only compared.
std::string hop_of(const SshSettings& settings) {
  if (!settings.proxy_jump.empty()) return settings.proxy_jump.substr(0, settings.proxy_jump.find(','));
  if (!settings.proxy_command.empty()) return settings.proxy_command;
  return cat(settings.hostname, ":", settings.port);
}

}  // namespace

Reach::Reach(Loop& loop, Runner& runner, Connectors& connectors, Secrets& secrets, Askpass& askpass,
             Becoming& becoming, ArchCache& cache, const SshOptions& ssh, BackEndWish wish,
             std::size_t sessions_max, Loop::Task on_idle)
    : loop_(loop),
      runner_(runner),
      connectors_(connectors),
      secrets_(secrets),
      askpass_(askpass),
      becoming_(becoming),
      cache_(cache),
      ssh_(ssh),
      wish_(wish),
      sessions_max_(sessions_max),
      on_idle_(std::move(on_idle)),
      admission_(loop),
      answers_(ArchCache::default_folder(), local_user()),
      questions_(loop, local_user(), "ssh", &answers_),
      facts_(questions_.local(), has_connector()) {}

Reach::~Reach() {
  *alive_ = false;
  for (auto& [id, way] : ways_) loop_.cancel(way.timer);
}

Reach::Id Reach::start(const Target& target, ImageKind kind, Runner::OnUp on_up, Runner::OnLost on_lost,
                       WayRecord* record, const std::string& jumps) {
  const Id id = next_++;
  Way& way = ways_[id];
  way.target = target;
  way.ssh = ssh_;
  if (!jumps.empty()) way.ssh.jumps = jumps;
  way.kind = kind;
  way.on_up = std::move(on_up);
  way.on_lost = std::make_shared<Runner::OnLost>(std::move(on_lost));
  way.began = loop_.now();
  way.record = record;
  if (record != nullptr) record->began = way.began;
  if (!is_ssh(target)) {
    try_now(id, true);
    return id;
  }
  way.login = secrets_.open(target.name);
  way.hop = cat(target.host, ":", target.port != 0 ? target.port : way.ssh.port);
  questions_.ask({target.name, target.user, target.host, target.port}, way.ssh,
                 [this, id](const SshQuestions::Answer& answer) { on_settings(id, answer); });
  return id;
}

bool Reach::can_use_libssh2() const {
  return wish_ != BackEndWish::kOpenssh && has_connector();
}

void Reach::on_settings(Id id, const SshQuestions::Answer& answer) {
  const auto found = ways_.find(id);
  if (found == ways_.end()) return;
  Way& way = found->second;
  if (way.cancelled) return conclude(id, cancelled());
  // Where ssh speaks it will say itself what is wrong with its configuration; but there has to be an ssh.
  if (!answer && (can_use_libssh2() || way.record != nullptr || answer.error().system_error == ENOENT))
    return conclude(id, answer.error());
  if (answer) {
    way.settings = *answer;
    way.hop = hop_of(**answer);
    way.tcp_timeout = (*answer)->connect_timeout * kSecond;
    way.has_jumps = !(*answer)->proxy_jump.empty();
    way.is_behind_jump = way.has_jumps || !(*answer)->proxy_command.empty();
    note_jumps(id, **answer);
    way.knows_session_type = !(*answer)->said("sessiontype").empty();
    way.attempts_wanted = std::min((*answer)->connection_attempts, kAttemptsMax);
  }
  if (!answer) return ask_admission(id, Admission::Place::kBack);
  const Target& target = way.target;
  const SshTarget asked{target.name, target.user, target.host, target.port};
  const Route itself{{.asked = asked, .options = way.ssh, .settings = *answer}};
  if (!way.has_jumps) return on_route(id, itself);
  ask_for_route(questions_, asked, way.ssh, [this, id, itself](const Result<Route>& route) {
    // Again, where ssh speaks it will say itself what is wrong with a jump.
    on_route(id, route || can_use_libssh2() ? route : Result<Route>(itself));
  });
}

void Reach::on_route(Id id, const Result<Route>& route) {
  const auto found = ways_.find(id);
  if (found == ways_.end()) return;
  Way& way = found->second;
  if (way.cancelled) return conclude(id, cancelled());
  if (!route) return conclude(id, route.error());
  if (route->size() > 1) note_jumps(id, *route);
  if (!can_use_libssh2() && way.record == nullptr) return ask_admission(id, Admission::Place::kBack);
  const SshSettings& settings = *route->back().settings;
  const std::vector<BackEndStep> steps = back_end_steps(facts_, *route);
  const BackEndChoice choice = choose_back_ends(steps, wish_).back();
  if (way.record != nullptr) {
    way.record->answered = loop_.now();
    way.record->settings = route->back().settings;
    way.record->choice = choice;
    way.record->known_keys = steps.back().facts.known;
  }
  if (choice.is_refused) return conclude(id, refused_back_end(choice));
  if (choice.back_end == BackEnd::kLibssh2) {
    way.session = session_settings(settings, ssh_.accept_new, secrets_.can_ask());
    for (const RouteStep& step : *route)
      if (step.is_jump)
        way.session->hops.push_back(
            hop_settings(*step.settings, step.asked.name, ssh_.accept_new, secrets_.can_ask()));
    way.session->window = receive_window(sessions_max_ * route->size());
    for (SessionSettings& hop : way.session->hops) hop.window = way.session->window;
    way.session->tells_steps = way.record != nullptr;
  }
  ask_admission(id, Admission::Place::kBack);
}

// As far as the host's own settings tell.
void Reach::note_jumps(Id id, const SshSettings& settings) {
  for (const SshJump& jump : parse_proxy_jump(settings.proxy_jump).value_or(std::vector<SshJump>()))
    jumps_[id].push_back(jump.host);
}

// With those that its jumps are reached through.
void Reach::note_jumps(Id id, const Route& route) {
  jumps_[id].clear();
  for (const RouteStep& step : route)
    if (step.is_jump) jumps_[id].push_back(step.asked.host);
}

const std::vector<std::string>& Reach::jumps_of(Id id) const {
  static const std::vector<std::string> none;
  const auto found = jumps_.find(id);
  return found == jumps_.end() ? none : found->second;
}

void Reach::ask_admission(Id id, Admission::Place place) {
  Way& way = ways_.at(id);
  way.ticket = admission_.ask(way.hop, place, [this, id] {
    Way& admitted = ways_.at(id);
    if (admitted.attempts++ == 0) admitted.began = loop_.now();
    try_now(id, true);
  });
  if (is_idle(way)) say_idle();
}

void Reach::say_idle() {
  loop_.post([this, alive = alive_] {
    if (*alive) on_idle_();
  });
}

std::string Reach::guess_of(const Way& way) const {
  if (is_become(way.target)) return own_architecture();
  return is_ssh(way.target) ? cache_.find(cache_key(way)) : "";
}

void Reach::try_now(Id id, bool may_guess) {
  Way& way = ways_.at(id);
  way.guess = may_guess ? guess_of(way) : "";
  const Target& target = way.target;
  // A second try has what the first has left of the time.
  SshOptions options = way.ssh;
  if (options.connect_timeout > 0)
    options.connect_timeout =
        std::max(options.connect_timeout - (loop_.now() - way.began), Nanos(kMillisecond));
  options.knows_session_type = way.knows_session_type;
  options.tcp_timeout = way.tcp_timeout;
  options.tells_phases = way.record != nullptr;
  const std::uint64_t nonce = loop_.random();
  Recipe recipe;
  if (target.method == Method::kLocal) {
    recipe = local(target.name, options.connect_timeout);
  } else if (is_become(target)) {
    recipe = recipe_to_become(target, {target.name, target.user, own_locale()}, nonce, way.guess,
                              options.connect_timeout);
    way.answerer = becoming_.let_ask(target, recipe, way.on_terminal);
  } else if (target.method == Method::kContainer) {
    recipe = container_recipe(target, nonce, options.connect_timeout, way.not_entered);
  } else if (way.session) {
    recipe = libssh2(target.name, *way.session, options, nonce, way.guess, connectors_, way.login);
  } else {
    // An ssh before 8.5 does not say whose question it passes on, so a host could ask for a key's passphrase.
    options.may_ask = secrets_.can_ask() && options.knows_session_type;
    if (way.has_jumps && can_stand_for_ssh(askpass_.program())) options.jump_program = askpass_.program();
    recipe = openssh({target.name, target.user, target.host, target.port}, options, nonce, way.guess);
    if (options.may_ask) askpass_.serve(recipe, way.login);
  }
  recipe.kind = way.kind;
  if (way.record != nullptr) {
    recipe.journal = way.record->journal = std::make_shared<StartJournal>();
    way.record->attempts = way.attempts;
  } else if (ssh_.accept_new && is_ssh(target)) {
    recipe.journal = std::make_shared<StartJournal>();
  }
  way.journal = recipe.journal;
  way.start = runner_.start(
      std::move(recipe), [this, id](const Result<Child>& child) { on_up(id, child); },
      [on_lost = way.on_lost](ContextId child, const Error& error) { (*on_lost)(child, error); });
  if (is_ssh(target)) watch_silence(way);
}

void Reach::watch_silence(Way& way) {
  loop_.cancel(way.timer);
  way.timer = loop_.after(way.session ? kSilentAfter : kOpaqueAfter, [this, &way] {
    way.timer = 0;
    way.is_silent = true;
    if (!is_idle(way)) return;
    // Behind a jump it is not the hop that is silent: its place there is for others.
    if (way.is_behind_jump && way.ticket)
      admission_.give_back(*std::exchange(way.ticket, {}), Admission::Outcome::kFailed);
    on_idle_();
  });
}

bool Reach::is_idle(const Way& way) const {
  if (way.waits_since != 0) return true;
  if (way.start == 0) return way.ticket && admission_.is_waiting(*way.ticket);
  return way.is_silent && runner_.phase_of(way.start) <= Phase::kConnect;
}

bool Reach::is_idle(Id id) const {
  const auto found = ways_.find(id);
  return found != ways_.end() && is_idle(found->second);
}

void Reach::on_up(Id id, Result<Child> child) {
  const auto found = ways_.find(id);
  ASSERT(found != ways_.end());
  Way& way = found->second;
  loop_.cancel(std::exchange(way.timer, 0));
  way.began += runner_.asked_for(way.start);  // a person's time is not the host's
  way.start = 0;
  way.is_silent = false;
  if (const auto answerer = std::exchange(way.answerer, nullptr)) {
    if (child) {
      answerer->came_through();
    } else {
      child = answerer->ended(child.error());
    }
  }
  if (!child && way.target.method == Method::kSudo && !way.cancelled && wants_terminal(child.error()) &&
      !std::exchange(way.on_terminal, true))
    return try_now(id, true);
  if (!child) tell_accepted(way);
  if (!child && child.error().wrong_guess && !way.cancelled && has_second_try(way.target)) {
    if (way.target.method == Method::kContainer) way.not_entered = child.error().text;
    if (is_ssh(way.target)) cache_.forget(cache_key(way));
    return try_now(id, false);
  }
  if (way.ticket) {
    admission_.give_back(*way.ticket, outcome_of(child));
    way.ticket.reset();
  }
  if (!child && !way.cancelled && try_again(id, child.error())) return;
  if (child && is_ssh(way.target)) cache_.learn(cache_key(way), child->hello.architecture);
  if (!child) child = told(way, child.error());
  conclude(id, child);
}

Admission::Outcome Reach::outcome_of(const Result<Child>& child) {
  if (child) return Admission::Outcome::kPassed;
  return is_drop(child.error()) ? Admission::Outcome::kDropped : Admission::Outcome::kFailed;
}

// Nothing has begun there: a crowded server, one that refuses and is to be tried more often, or a connector
// that died under us may be tried again.
bool Reach::try_again(Id id, const Error& error) {
  Way& way = ways_.at(id);
  if (!is_ssh(way.target)) return false;
  // It waited in our queue of questions for longer than its server would.
  const bool may_try_again = secrets_.take_may_try_again(way.login);
  const bool is_cut_off =
      way.session || error.error_class == ErrorClass::kRefused || error.error_class == ErrorClass::kLost;
  if (may_try_again && is_cut_off && error.phase <= Phase::kAuth && ++way.hung_up <= kHungUpMax) {
    try_after_answer(id);
    return true;
  }
  const Nanos passed = loop_.now() - way.began;
  if (ssh_.connect_timeout > 0 && passed >= ssh_.connect_timeout) return false;
  if (is_drop(error)) {
    const bool is_known = admission_.has_passed(way.hop);
    if (passed >= kDroppedMax || way.attempts >= (is_known ? kAttemptsMax : kStrangerMax)) return false;
    ask_admission(id, Admission::Place::kFront);
    return true;
  }
  const bool did_not_connect =
      error.phase == Phase::kConnect &&
      (error.error_class == ErrorClass::kUnreachable || error.error_class == ErrorClass::kTimeout);
  if (way.session && did_not_connect && way.attempts < way.attempts_wanted) {
    way.timer = loop_.after(kSecond, [this, id] {
      ways_.at(id).timer = 0;
      ask_admission(id, Admission::Place::kBack);
    });
    return true;
  }
  // What libssh2 does not understand, ssh may.
  if (way.session && wish_ == BackEndWish::kAuto && error.error_class == ErrorClass::kProtocol &&
      error.phase <= Phase::kAuth) {
    way.session.reset();
    if (way.record != nullptr)
      way.record->choice = {BackEnd::kOpenssh, false, "libssh2", "it did not understand the server", ""};
    ask_admission(id, Admission::Place::kFront);
    return true;
  }
  if (way.session && error.error_class == ErrorClass::kLost && !std::exchange(way.lost_before, true)) {
    ask_admission(id, Admission::Place::kBack);
    return true;
  }
  return false;
}

void Reach::try_after_answer(Id id) {
  ways_.at(id).waits_since = loop_.now();
  say_idle();
  secrets_.after_answer([this, alive = alive_, id] {
    if (!*alive) return;
    const auto found = ways_.find(id);
    if (found == ways_.end() || found->second.cancelled) return;
    Way& way = found->second;
    way.began += loop_.now() - std::exchange(way.waits_since, 0);
    ask_admission(id, Admission::Place::kFront);
  });
}

void Reach::tell_accepted(const Way& way) const {
  if (!on_accepted_ || !way.journal) return;
  std::string said;
  for (const StartJournal::Said& piece : way.journal->said) said += piece.text;
  for (const std::string& line : accepted_host_keys(said)) on_accepted_(way.target.name, line);
}

// A key that ssh passed over in silence, since nobody was there who might have opened it.
std::string Reach::locked_key(const Way& way) {
  if (way.session || !way.settings || (secrets_.can_ask() && !way.settings->batch_mode)) return {};
  const BackEndFacts facts = facts_.about(*way.settings);
  const auto locked = std::ranges::find_if(facts.keys, &KeyFile::is_encrypted);
  return locked == facts.keys.end() ? std::string() : locked->path;
}

Error Reach::told(const Way& way, Error error) {
  error.started = Started::kNo;  // of the work that its context would have done
  if (error.error_class == ErrorClass::kTimeout) {
    // ssh's own words, where it had any, come with a remedy and say more.
    if (error.remedy.empty() && ssh_.connect_timeout > 0 && loop_.now() - way.began >= ssh_.connect_timeout)
      error.text = cat(
          "not up after ", duration_text(ssh_.connect_timeout), ", as --connect-timeout says",
          std::string_view(error.text).substr(std::min(error.text.find("; last words"), error.text.size())));
    if (error.remedy.empty() && is_ssh(way.target)) error.remedy = cat("try ", by_hand(way.target, way.ssh));
  }
  // The lines of a jump host's ssh and of our own are alike. A connector says which host it is.
  if (way.is_behind_jump && !way.session && error.error_class == ErrorClass::kHostKey)
    error.remedy =
        cat("connect by hand, which asks about the jump's key as well: ", by_hand(way.target, way.ssh),
            way.has_jumps ? "; or, for keys that are unknown and not changed, --accept-new" : "");
  if (error.error_class == ErrorClass::kAuth && error.phase == Phase::kAuth) {
    if (const std::string key = locked_key(way); !key.empty())
      error.remedy = cat("the key ", key, " is encrypted, and nobody was to be asked for its passphrase: ",
                         "ssh-add it, or start it where somebody may be asked; else ", error.remedy);
  }
  if (!way.not_entered.empty()) error.text = cat(error.text, " (and ", way.not_entered, ")");
  if (way.attempts > 1) error.text = cat(error.text, " (", way.attempts, " attempts)");
  return error;
}

void Reach::conclude(Id id, const Result<Child>& child) {
  const auto found = ways_.find(id);
  Runner::OnUp on_up = std::move(found->second.on_up);
  loop_.cancel(found->second.timer);
  if (const Secrets::LoginId login = found->second.login; login != 0) {
    if (child) secrets_.accepted(login);
    secrets_.close(login);
  }
  ways_.erase(found);
  on_up(child);
}

void Reach::cancel(Id id) {
  const auto found = ways_.find(id);
  if (found == ways_.end() || std::exchange(found->second.cancelled, true)) return;
  Way& way = found->second;
  if (way.start != 0) return runner_.cancel(way.start);
  // A question to ssh is answered soon; who waits for nothing else is told now, but not from inside this
  // call.
  if (way.ticket) {
    admission_.give_back(*std::exchange(way.ticket, {}), Admission::Outcome::kFailed);
  } else if (way.timer == 0 && way.waits_since == 0) {
    return;
  }
  loop_.cancel(std::exchange(way.timer, 0));
  loop_.post([this, alive = alive_, id] {
    if (*alive) conclude(id, cancelled());
  });
}

bool Reach::is_waiting(Id id) const {
  const auto found = ways_.find(id);
  if (found == ways_.end()) return false;
  const Way& way = found->second;
  return way.start == 0 && way.ticket && admission_.is_waiting(*way.ticket);
}

Phase Reach::phase_of(Id id) const {
  const auto found = ways_.find(id);
  if (found == ways_.end()) return Phase::kLink;
  if (found->second.start == 0) return Phase::kResolve;
  const Phase phase = runner_.phase_of(found->second.start);
  const Target& target = found->second.target;
  const bool becomes = is_become(target) || target.method == Method::kContainer;
  return becomes && phase < Phase::kUpload ? Phase::kBecome : phase;
}

void Reach::save() {
  cache_.save();
  answers_.save();
}

// The user does not matter to it; the configuration and the way do, since a name may mean another machine
// there.
std::string Reach::cache_key(const Way& way) const {
  const std::uint16_t port = way.target.port != 0 ? way.target.port : way.ssh.port;
  std::string key = cat(way.target.host, " ", port);
  if (!way.ssh.config_file.empty()) key += cat(" ", way.ssh.config_file);
  if (!way.ssh.jumps.empty()) key += cat(" -J ", way.ssh.jumps);
  return key;
}

}  // namespace banyan::cli
