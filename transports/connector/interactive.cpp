#include "transports/connector/interactive.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "core/fd.h"
#include "transports/connector/library.h"
#include "transports/connector/thread.h"

namespace banyan::connector {

struct Interactive::Shared {
  Shared(Loop& its_loop, LIBSSH2_SESSION* its_session, int its_socket, std::string its_user)
      : loop(its_loop), session(its_session), socket(its_socket), user(std::move(its_user)) {}

  Loop& loop;
  LIBSSH2_SESSION* const session;
  const int socket;
  const std::string user;
  const Fd stop_event{::eventfd(0, EFD_CLOEXEC)};

  // Of the loop's thread.
  Interactive* owner = nullptr;  // null: gone, and nobody is told any more
  OnQuestions on_questions;
  OnEnd on_end;

  std::mutex mutex;
  std::condition_variable wake;
  std::optional<std::vector<Secret>> answers;
  bool stop = false;

  // The other thread's.
  int exchange();
  void ask(SessionQuestion question, LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses,
           const std::shared_ptr<Shared>& self);
  bool wait_for_socket() const;
  static void callback(const char* name, int name_bytes, const char* instruction, int instruction_bytes,
                       int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT* prompts,
                       LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses, void** abstract);
  std::weak_ptr<Shared> self;
};

namespace {

template <class Size>
std::string text_of(const char* bytes, Size count) {
  if (bytes == nullptr || count <= 0) return {};
  return std::string(bytes, std::min(std::size_t(count), kPromptTextMax));
}

}  // namespace

void Interactive::Shared::callback(const char* name, int name_bytes, const char* instruction,
                                   int instruction_bytes, int count,
                                   const LIBSSH2_USERAUTH_KBDINT_PROMPT* prompts,
                                   LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses, void** abstract) {
  if (count <= 0) return;  // a server that asks nothing only wants to hear so
  auto* library = static_cast<Library*>(*abstract);
  auto* shared = static_cast<Shared*>(library->exchange);
  if (std::size_t(count) > kPromptsMax) {
    library->asks_too_much = true;
    ::shutdown(shared->socket, SHUT_RDWR);  // else libssh2 sends empty answers
    return;
  }
  SessionQuestion question;
  question.kind = SessionQuestion::Kind::kInteractive;
  question.name = text_of(name, name_bytes);
  question.instruction = text_of(instruction, instruction_bytes);
  for (int i = 0; i < count; ++i)
    question.items.push_back({text_of(prompts[i].text, prompts[i].length), prompts[i].echo != 0});
  shared->ask(std::move(question), responses, shared->self.lock());
}

void Interactive::Shared::ask(SessionQuestion question, LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses,
                              const std::shared_ptr<Shared>& me) {
  const std::size_t count = question.items.size();
  loop.post([me, question = std::move(question)]() mutable {
    if (me->owner != nullptr) me->on_questions(std::move(question));
  });
  std::unique_lock lock(mutex);
  wake.wait(lock, [this] { return stop || answers.has_value(); });
  if (stop) return;
  const std::vector<Secret> given = std::move(*answers);
  answers.reset();
  for (std::size_t i = 0; i < std::min(count, given.size()); ++i) {
    const Bytes bytes = given[i].bytes();
    // libssh2 frees it, with the session's own function, which wipes.
    responses[i].text = static_cast<char*>(std::malloc(bytes.size() + 1));
    if (responses[i].text == nullptr) return;
    if (!bytes.empty()) std::memcpy(responses[i].text, bytes.data(), bytes.size());
    responses[i].length = static_cast<unsigned int>(bytes.size());
  }
}

// False: it is to stop.
bool Interactive::Shared::wait_for_socket() const {
  const int directions = libssh2_session_block_directions(session);
  const bool out = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
  pollfd wait[] = {{socket, short(POLLIN | (out ? POLLOUT : 0)), 0}, {stop_event.get(), POLLIN, 0}};
  retry([&] { return ::poll(wait, 2, -1); });
  return wait[1].revents == 0;
}

int Interactive::Shared::exchange() {
  auto* library = static_cast<Library*>(*libssh2_session_abstract(session));
  library->exchange = this;
  int code = LIBSSH2_ERROR_EAGAIN;
  do {
    library->round_left = kEarlyRoundMax;
    code = libssh2_userauth_keyboard_interactive_ex(session, user.c_str(),
                                                    static_cast<unsigned int>(user.size()), callback);
  } while (code == LIBSSH2_ERROR_EAGAIN && wait_for_socket());
  library->exchange = nullptr;
  return code;
}

Interactive::Interactive(Loop& loop, LIBSSH2_SESSION* session, int socket, std::string user,
                         OnQuestions on_questions, OnEnd on_end)
    : shared_(std::make_shared<Shared>(loop, session, socket, std::move(user))) {
  shared_->owner = this;
  shared_->on_questions = std::move(on_questions);
  shared_->on_end = std::move(on_end);
  shared_->self = shared_;
  const auto work = [shared = shared_] {
    const int code = shared->exchange();
    shared->loop.post([shared, code] {
      if (shared->owner == nullptr) return;
      shared->owner->thread_.join();
      shared->owner = nullptr;
      const OnEnd tell = std::move(shared->on_end);
      tell(code);
    });
  };
  if (Result<std::thread> thread = start_thread(work, Phase::kAuth)) {
    thread_ = std::move(*thread);
  } else {
    error_ = thread.error();
  }
}

Interactive::~Interactive() {
  shared_->owner = nullptr;
  if (!thread_.joinable()) return;
  // Before the thread wakes: nothing more is said, least of all empty answers, which the server would count.
  ::shutdown(shared_->socket, SHUT_RDWR);
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->wake.notify_one();
  const std::uint64_t one = 1;
  (void)!::write(shared_->stop_event.get(), &one, sizeof one);
  thread_.join();
}

void Interactive::answer(std::vector<Secret> secrets) {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->answers = std::move(secrets);
  }
  shared_->wake.notify_one();
}

}  // namespace banyan::connector
