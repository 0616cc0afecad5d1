#include "parent/transport_job.h"

#include <sys/wait.h>

#include <algorithm>

#include "core/text.h"
#include "parent/entry.h"
#include "parent/process_carrier.h"
#include "parent/transport_message.h"

namespace banyan {

namespace {
constexpr std::size_t kReadMax = 64 * 1024;
}

const Runner::Transports Runner::kTransports = {
    [](Runner& runner, StartId id, Recipe&& recipe, OnUp&& on_up, OnLost&& on_lost) -> std::unique_ptr<Job> {
      return std::make_unique<TransportJob>(runner, id, std::move(recipe), std::move(on_up),
                                            std::move(on_lost));
    },
    take_transport};

Error detached_error() {
  Error error{ErrorClass::kLost, Phase::kLink, "it has detached: it lives on, outside of this tree", {}};
  error.detached = true;
  return error;
}

Runner::TransportJob::TransportJob(Runner& runner, StartId id, Recipe recipe, OnUp on_up, OnLost on_lost)
    : Job(runner, id, std::move(recipe), std::move(on_up), std::move(on_lost)), asides_(recipe_.asides) {}

Runner::TransportJob::~TransportJob() {
  unwatch();
}

// --- reaching it ---

void Runner::TransportJob::begin() {
  if (recipe_.journal) {
    *recipe_.journal = StartJournal();
    recipe_.journal->began = began_;
  }
  if (!open_channel()) return;
  if (recipe_.boot != Recipe::Boot::kStage0) return make_link({});
  enter(Phase::kConnect, recipe_.deadlines.until_ready);
  if (!recipe_.architecture.empty()) runner_.images_.obtain(recipe_.architecture, recipe_.kind, [] {});
  handshake_ =
      std::make_unique<Handshake>(runner_.images_, recipe_.kind, recipe_.nonce, recipe_.architecture);
  channel_watch_ = runner_.loop_.watch(channel_.get(), {.read = true}, [this](Ready ready) { talk(ready); });
  advance();
}

Result<std::unique_ptr<Carrier>> Runner::TransportJob::start_carrier(Fd far_end) {
  if (recipe_.source) return recipe_.source->carry(std::move(far_end), *this);
  if (recipe_.boot == Recipe::Boot::kImage) return Job::start_carrier(std::move(far_end));
  if (recipe_.boot != Recipe::Boot::kNamespaces) return start_process(std::move(far_end));
  const Result<int> image = runner_.images_.local_image(ImageKind::kHop);
  if (!image) return image.error();
  std::vector<std::string> words = {"banyan-agent", hex64(recipe_.nonce)};
  words.insert(words.end(), recipe_.argv.begin(), recipe_.argv.end());
  const SpawnPlan plan(*image, std::move(words), ProcessCarrier::options(recipe_.environment));
  return ProcessCarrier::start(runner_.loop_, plan, "the agent", std::move(far_end), *this);
}

Result<std::unique_ptr<Carrier>> Runner::TransportJob::start_process(Fd far_end) {
  if (const Result<Done> opened = open_back_channel(); !opened) return opened.error();
  std::vector<std::string> argv;
  for (const std::string& word : recipe_.argv) argv.push_back(in_place(word));
  std::vector<std::pair<std::string, std::string>> environment;
  for (const auto& [name, value] : recipe_.environment) environment.emplace_back(name, in_place(value));
  if (terminal_)
    argv = argv_on_terminal(std::move(argv), terminal_->path(), extra_.terminal == Recipe::Terminal::kInput);
  const SpawnPlan plan(argv, ProcessCarrier::options(std::move(environment)));
  pid_t pid = 0;
  auto carrier =
      ProcessCarrier::start(runner_.loop_, plan, recipe_.argv.front(), std::move(far_end), *this, &pid);
  if (carrier && back_channel_) back_channel_->expect(pid);
  return carrier;
}

Result<Done> Runner::TransportJob::open_back_channel() {
  if (!extra_.file.empty()) {
    Result<PrivateFile> file = make_private_file(extra_.file);
    if (!file) return file.error();
    file_ = std::move(*file);
  }
  if (!extra_.answerer && extra_.answered_at != 0)
    elsewhere_ = std::make_unique<RemoteAnswerer>(runner_.router_, extra_.answered_by, extra_.answered_at);
  Answerer* answerer = extra_.answerer ? extra_.answerer.get() : elsewhere_.get();
  if (extra_.terminal != Recipe::Terminal::kNone) {
    auto terminal =
        TransportTerminal::open(runner_.loop_, answerer, [this](bool asks) { on_carrier_asks(asks); });
    if (!terminal) return terminal.error();
    terminal_ = std::move(*terminal);
    return Done{};
  }
  if (answerer == nullptr) return Done{};
  bool by_name = false;
  for (const auto& [name, value] : recipe_.environment)
    by_name = by_name || value.find(kNamePlace) != value.npos;
  auto opened = BackChannel::open(
      runner_.loop_, *answerer, [this](bool asks) { on_carrier_asks(asks); },
      by_name ? BackChannel::Reached::kByName : BackChannel::Reached::kByPath);
  if (!opened) return opened.error();
  back_channel_ = std::move(*opened);
  return Done{};
}

std::string Runner::TransportJob::in_place(std::string text) const {
  for (const std::string_view place : {kSocketPlace, kNamePlace})
    if (back_channel_) text = put_in_place(std::move(text), place, back_channel_->path());
  if (file_) text = put_in_place(std::move(text), kFilePlace, file_->path);
  return put_in_place(std::move(text), kProgramPlace, own_program());
}

void Runner::TransportJob::note_phase(Phase phase) {
  entered_ = runner_.loop_.now();
  if (recipe_.journal) recipe_.journal->enter(phase, entered_);
  // Whatever is printed now, or unseen, is no question of the transport's.
  if (terminal_ && phase > Phase::kShell) terminal_->mute();
  if (phase != Phase::kLink) return;
  complaints_.append(asides_.finish());
  handshake_.reset();
  upload_ = Buffer();
  back_channel_.reset();
  file_.reset();
}

void Runner::TransportJob::note_shell() {
  if (recipe_.journal && handshake_)
    recipe_.journal->note_shell(handshake_->noise(), handshake_->report(), runner_.loop_.now());
}

void Runner::TransportJob::talk(Ready ready) {
  if (ready.write && waiting_for_room_) write_upload();
  if (!ready.read || !channel_) return;
  Buffer bytes(kReadMax);
  const IoResult result = runner_.loop_.read(channel_.get(), bytes.data(), bytes.size());
  if (result.status == IoResult::Status::kWouldBlock) return;
  if (result.status == IoResult::Status::kOk) {
    handshake_->feed(Bytes(bytes).first(result.bytes));
  } else {
    channel_ended_ = true;
    handshake_->feed_end();
  }
  advance();
}

void Runner::TransportJob::advance() {
  Buffer more = handshake_->take_output();
  upload_.insert(upload_.end(), more.begin(), more.end());
  write_upload();
  note_shell();
  switch (handshake_->state()) {
    case Handshake::State::kWaitingForReady:
      return;
    case Handshake::State::kNeedsImage:
      if (is_obtaining_) return;
      is_obtaining_ = true;
      if (phase_ <= Phase::kShell) enter(Phase::kUpload, recipe_.deadlines.upload);
      return runner_.images_.obtain(handshake_->architecture(), recipe_.kind, [this, alive = alive_] {
        if (!*alive || failure_ || !handshake_) return;
        handshake_->on_image();
        advance();
      });
    case Handshake::State::kUploading:
      if (phase_ <= Phase::kShell) enter(Phase::kUpload, recipe_.deadlines.upload);
      return;
    case Handshake::State::kWaitingForHello:
      // All has left us, and may still be on a slow line.
      if (phase_ != Phase::kHello) enter(Phase::kHello, recipe_.deadlines.upload + recipe_.deadlines.hello);
      return;
    case Handshake::State::kFailed:
      return channel_ended_ ? transport_ended(handshake_->error()) : fail(handshake_->error());
    case Handshake::State::kLinked: {
      const Buffer rest = handshake_->take_rest();
      unwatch();
      return make_link(rest);
    }
  }
}

void Runner::TransportJob::write_upload() {
  while (channel_ && uploaded_ < upload_.size()) {
    const iovec part{upload_.data() + uploaded_, upload_.size() - uploaded_};
    const IoResult result = runner_.loop_.write(channel_.get(), &part, 1);
    if (result.status != IoResult::Status::kOk) break;  // full, or broken: reading will say which
    uploaded_ += result.bytes;
    child_.bytes_sent += result.bytes;
    if (recipe_.journal) recipe_.journal->bytes_sent = child_.bytes_sent;
  }
  if (handshake_ && uploaded_ == upload_.size() && uploaded_ > 0) handshake_->note_sent();
  const bool wait = uploaded_ < upload_.size();
  if (!channel_ || channel_watch_ == 0 || wait == waiting_for_room_) return;
  waiting_for_room_ = wait;
  runner_.loop_.change(channel_watch_, {.read = true, .write = wait});
}

void Runner::TransportJob::unwatch() {
  if (channel_watch_ != 0) runner_.loop_.unwatch(std::exchange(channel_watch_, 0));
}

void Runner::TransportJob::close_channel() {
  unwatch();
  // Who waits there for an answer would not end: a sudo that we may not kill waits for its askpass program.
  back_channel_.reset();
  if (terminal_) terminal_->hang_up();
  Job::close_channel();
}

// --- what the carrier tells ---

void Runner::TransportJob::on_carrier_text(std::string_view text) {
  if (recipe_.journal && !is_up()) recipe_.journal->say(text, runner_.loop_.now());
  Job::on_carrier_text(asides_.feed(text));
  if (terminal_) terminal_->look();
}

void Runner::TransportJob::on_carrier_end(const Carrier::Ending& ending) {
  Job::on_carrier_text(asides_.finish());
  Job::on_carrier_end(ending);
}

// Each phase has its own deadline where we are told of them.
void Runner::TransportJob::on_carrier_phase(Phase phase) {
  if (is_up() || failure_ || !handshake_ || handshake_->state() != Handshake::State::kWaitingForReady) return;
  enter(phase, recipe_.deadlines.of(phase));
}

// A person's time, and that of the others before him, is not the host's. Whoever asks has a limit for it.
void Runner::TransportJob::on_carrier_asks(bool asks) {
  if (is_up() || failure_ || std::exchange(asks_, asks) == asks) return;
  if (!asks) {
    asked_ += runner_.loop_.now() - asked_since_;
    enter(phase_, phase_left_);
    if (recipe_.deadlines.total > 0) limit_total(total_ends_);
    return;
  }
  asked_since_ = runner_.loop_.now();
  phase_left_ = std::max<Nanos>(entered_ + phase_deadline_ - asked_since_, 0);
  runner_.loop_.cancel(phase_timer_);
  runner_.loop_.cancel(total_timer_);
  total_ends_ -= runner_.loop_.now();
}

// --- what goes wrong ---

// What the transport said on its stderr often tells more than the silence that followed.
Error Runner::TransportJob::explained(Error error) const {
  if (error.error_class == ErrorClass::kCancelled || error.wrong_guess) return error;
  if (ending_of_carrier_.error && error.error_class != ErrorClass::kTimeout) {
    Error why = *ending_of_carrier_.error;
    if (why.phase == Phase::kLink) why.phase = error.phase;  // it was carrying: how far, only we know
    return why;
  }
  const bool has_ended = is_entering() && error.error_class != ErrorClass::kTimeout;
  if (phase_ == Phase::kConnect || phase_ == Phase::kShell || has_ended) {
    if (std::string_view line; const Symptom* symptom = complaint(line)) {
      error.phase = symptom->phase;
      error.error_class = symptom->error_class;
      error.text = std::string(line);
      error.remedy = symptom->remedy;
      return error;
    }
  }
  const std::string_view last = last_line(complaints_);
  const int status = ending_of_carrier_.status;
  if (has_ended && WIFEXITED(status) && WEXITSTATUS(status) == kOtherWay) {
    error = Error{ErrorClass::kRefused, Phase::kBecome, last, {}};
    error.wrong_guess = true;
    return error;
  }
  // Later, others speak there too; but what comes last, and is about the connection, is the transport's.
  if (const Symptom* symptom = find_symptom(recipe_.symptoms, last);
      symptom != nullptr && symptom->error_class == ErrorClass::kLost &&
      error.error_class != ErrorClass::kTimeout) {
    error.error_class = ErrorClass::kLost;
    error.text = std::string(last);
    error.remedy = symptom->remedy;
    return error;
  }
  return Job::explained(std::move(error));
}

// The first of its symptoms that the transport shows, and the line in question. An account that takes no
// commands says so on its standard output.
const Symptom* Runner::TransportJob::complaint(std::string_view& line) const {
  for (std::string_view text : {std::string_view(complaints_),
                                handshake_ ? std::string_view(handshake_->noise()) : std::string_view()}) {
    const Symptom* symptom = find_symptom(recipe_.symptoms, text);
    if (symptom == nullptr) continue;
    const std::size_t at = text.find(symptom->text), before = text.rfind('\n', at);
    line = text.substr(before == text.npos ? 0 : before + 1);
    line = last_line(line.substr(0, line.find('\n')));
    return symptom;
  }
  return nullptr;
}

Error Runner::TransportJob::cause_of_loss() const {
  if (is_let_go_) return detached_error();
  Error error = *loss_;
  if (error.error_class != ErrorClass::kLost || ended_by_us_) return explained(std::move(error));
  if (ending_of_carrier_.error) {
    error = *ending_of_carrier_.error;
    error.phase = Phase::kLink;
    return error;
  }
  if (std::string_view line; const Symptom* symptom = complaint(line)) {
    error.text = std::string(line);
    error.remedy = symptom->remedy;
    return error;
  }
  if (recipe_.boot != Recipe::Boot::kImage && WIFSIGNALED(ending_of_carrier_.status)) {
    error.text = cat(recipe_.method, " was killed by signal ", WTERMSIG(ending_of_carrier_.status));
    return error;
  }
  return cause_of_death();
}

}  // namespace banyan
