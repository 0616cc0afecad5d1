// Goal: nobody is asked twice for what he has said, and no secret goes to who has not asked for it, or
// refused it. Method: hosts that ask, a person who is a list of answers; what ssh may ask, by its words.
#include "transports/secrets.h"

#include <catch2/catch.hpp>
#include <deque>

#include "core/epoll_loop.h"
#include "tests/simulation/sim_loop.h"

using namespace banyan;

namespace {

class Person final : public Asker {
 public:
  explicit Person(Loop& loop) : loop_(loop) {}
  bool can_ask() const override { return true; }
  Id ask(Question question, OnAnswer on_answer) override {
    asked.push_back(std::move(question));
    on_answer_ = std::move(on_answer);
    if (!is_slow) {
      loop_.post([this, then = std::move(on_answer_)] { answer(then); });
    }
    return asked.size();
  }
  void answer_now() { answer(on_answer_); }
  void cancel(Id) override { ++cancelled; }
  bool is_waiting(Id id) const override { return id > seen; }

  std::vector<Question> asked;
  std::deque<std::string> answers;
  int cancelled = 0;
  Id seen = 0;           // the last question that was shown, as far as a test says
  bool is_slow = false;  // answers only when told to, and the last question

 private:
  void answer(const OnAnswer& then) {
    Answer answer;
    if (answers.empty()) {
      answer.outcome = Outcome::kDeclined;
    } else {
      answer.outcome = Outcome::kAnswered;
      answer.secrets.push_back(Secret::copy_of(as_bytes(answers.front())));
      answers.pop_front();
    }
    then(std::move(answer));
  }

  Loop& loop_;
  OnAnswer on_answer_;
};

struct World {
  EpollLoop loop;
  Person person{loop};
  Secrets secrets{loop, person};

  World() = default;
  explicit World(std::deque<std::string> answers) { person.answers = std::move(answers); }

  struct Heard {
    int times = 0;
    std::string secret, error;
  };
  void settle() {
    for (int i = 0; i < 50; ++i) loop.run_once(0);
  }
  std::shared_ptr<Heard> ask_later(Secrets::LoginId login, Secrets::Want want) {
    auto heard = std::make_shared<Heard>();
    secrets.ask(login, std::move(want), [heard](Result<std::vector<Secret>> given) {
      ++heard->times;
      if (given) {
        heard->secret = given->front().text();
      } else {
        heard->error = given.error().text;
      }
    });
    return heard;
  }
  Heard ask(Secrets::LoginId login, Secrets::Want want) {
    const auto heard = ask_later(login, std::move(want));
    settle();
    CHECK(heard->times <= 1);
    return *heard;
  }
  void have_common(const std::string& password) {
    person.answers.push_front(password);
    secrets.ask_common([](const Asker::Answer&) {});
    settle();
    person.asked.clear();
  }
};

Secrets::Want password(const std::string& of) {
  return {.kind = Secrets::Kind::kPassword, .of = of};
}
Secrets::Want passphrase(const std::string& file) {
  return {.kind = Secrets::Kind::kPassphrase, .of = file};
}
Secrets::Want prompt(const std::string& of, const std::string& text, bool echo = false) {
  return {.kind = Secrets::Kind::kOther, .of = of, .items = {{text, echo}}};
}

}  // namespace

TEST_CASE("a passphrase is asked for once for all who want it, also at the same time") {
  World world({"sesame"});
  std::vector<std::shared_ptr<World::Heard>> all;
  for (int i = 0; i < 5; ++i) all.push_back(world.ask_later(world.secrets.open("h"), passphrase("/id")));
  world.settle();
  for (const auto& heard : all) CHECK(heard->secret == "sesame");
  CHECK(world.ask(world.secrets.open("late"), passphrase("/id")).secret == "sesame");
  REQUIRE(world.person.asked.size() == 1);
  CHECK(world.person.asked[0].items[0].text == "Enter passphrase for key '/id': ");
}

TEST_CASE("a wrong passphrase is asked for again once for all, three times in all") {
  World world({"1", "2", "3", "4"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  for (const std::string expected : {"1", "2", "3"}) {
    CHECK(world.ask(a, passphrase("/id")).secret == expected);
    CHECK(world.ask(b, passphrase("/id")).secret == expected);
  }
  CHECK_FALSE(world.ask(a, passphrase("/id")).error.empty());
  CHECK_FALSE(world.ask(b, passphrase("/id")).error.empty());
  CHECK(world.person.asked.size() == kPassphraseTriesMax);
  CHECK(world.ask(a, passphrase("/other")).secret == "4");
}

TEST_CASE("each host is asked its own password, by its name as it was typed") {
  World world({"one", "two"});
  CHECK(world.ask(world.secrets.open("web1"), password("ann@web1")).secret == "one");
  CHECK(world.ask(world.secrets.open("db"), password("ann@10.0.0.1")).secret == "two");
  REQUIRE(world.person.asked.size() == 2);
  CHECK(world.person.asked[0].items[0].text == "ann@web1's password: ");
  CHECK(world.person.asked[1].items[0].text == "db: ann@10.0.0.1's password: ");
}

TEST_CASE("what let us in before is given again in a second try, what was refused is not") {
  World world({"wrong", "right", "other"});
  const Secrets::LoginId host = world.secrets.open("web1");
  world.secrets.begin_try(host);
  CHECK(world.ask(host, password("ann@web1")).secret == "wrong");
  world.secrets.refused(host);
  CHECK(world.ask(host, password("ann@web1")).secret == "right");
  world.secrets.accepted(host);
  world.secrets.begin_try(host);
  CHECK(world.ask(host, password("ann@web1")).secret == "right");
  CHECK(world.person.asked.size() == 2);
  world.secrets.refused(host);
  CHECK(world.ask(host, password("ann@web1")).secret == "other");
}

TEST_CASE("of a password for all one host has it first, the others when that took it") {
  World world;
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  const auto later = world.ask_later(b, prompt("ann@b", "Password: "));
  world.settle();
  CHECK(later->times == 0);
  world.secrets.accepted(a);
  world.settle();
  CHECK(later->secret == "common");
  CHECK(world.person.asked.empty());
}

TEST_CASE("a password for all that one host refused goes to no other, and its text names that host") {
  World world;
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  const auto waiting = world.ask_later(b, password("ann@b"));
  world.settle();
  world.secrets.refused(a);
  world.settle();
  CHECK(waiting->error.find("refused by a") != std::string::npos);
  CHECK_FALSE(world.ask(world.secrets.open("c"), password("ann@c")).error.empty());
  CHECK_FALSE(world.ask(a, password("ann@a")).error.empty());
  CHECK(world.person.asked.empty());
}

TEST_CASE("the same question again means that the password for all was refused, another one does not") {
  World world({"123456"});
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  CHECK(world.ask(a, prompt("ann@a", "Password: ")).secret == "common");
  CHECK(world.ask(a, prompt("ann@a", "Code: ")).secret == "123456");
  CHECK(world.ask(a, prompt("ann@a", "Password: ")).times == 1);
  CHECK(world.ask(b, password("ann@b")).error.find("refused by a") != std::string::npos);
}

TEST_CASE("a host that goes without a verdict leaves the password for all to the next") {
  World world;
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  const auto later = world.ask_later(b, password("ann@b"));
  world.settle();
  world.secrets.close(a);
  world.settle();
  CHECK(later->secret == "common");
}

TEST_CASE("a jump host, and a question whose answer shows, do not get the password for all") {
  World world({"jump", "yes"});
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a");
  Secrets::Want want = password("ann@gw");
  want.from_jump_host = true;
  CHECK(world.ask(a, want).secret == "jump");
  CHECK(world.ask(a, prompt("ann@a", "Really?", true)).secret == "yes");
}

TEST_CASE("what a server says stands behind who asks, line by line") {
  World world({"x"});
  Secrets::Want want = prompt("ann@web1", "bob@bank's secret\nPIN: ");
  want.lines = {"Name", "One\r\nTwo\n"};
  world.ask(world.secrets.open("web1"), std::move(want));
  REQUIRE(world.person.asked.size() == 1);
  const Question& question = world.person.asked[0];
  CHECK(question.who == "(ann@web1) ");
  CHECK(question.lines == std::vector<std::string>{"Name", "One", "Two", "bob@bank's secret"});
  CHECK(question.items[0].text == "PIN: ");
}

TEST_CASE("the jump's ssh and the target's, that ask for one key, are given the same passphrase") {
  World world({"sesame", "other"});
  const Secrets::LoginId host = world.secrets.open("web1");
  Secrets::Want jump = passphrase("/id"), target = passphrase("/id");
  jump.asker = 100;
  target.asker = 101;
  CHECK(world.ask(host, jump).secret == "sesame");
  CHECK(world.ask(host, target).secret == "sesame");
  CHECK(world.person.asked.size() == 1);
  CHECK(world.ask(host, target).secret == "other");
}

TEST_CASE("a PIN, and whatever else no host asks, does not get the password for all and is not kept") {
  World world({"1234", "5678"});
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  CHECK(world.ask(a, prompt("", "Enter PIN for 'card': ")).secret == "1234");
  world.secrets.accepted(a);
  world.secrets.begin_try(a);
  CHECK(world.ask(a, prompt("", "Enter PIN for 'card': ")).secret == "5678");
  REQUIRE(world.person.asked.size() == 2);
  CHECK(world.person.asked[0].who == "a: ");
  CHECK(world.ask(b, password("ann@b")).secret == "common");
}

TEST_CASE("a code is asked for again in a second try") {
  World world({"111111", "222222"});
  const Secrets::LoginId host = world.secrets.open("web1");
  world.secrets.begin_try(host);
  CHECK(world.ask(host, prompt("ann@web1", "Code: ")).secret == "111111");
  world.secrets.accepted(host);
  world.secrets.begin_try(host);
  CHECK(world.ask(host, prompt("ann@web1", "Code: ")).secret == "222222");
}

TEST_CASE("only a host that was let in by it proves the password for all") {
  World world({"sesame"});
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b"),
                         c = world.secrets.open("c");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  CHECK(world.ask(a, passphrase("/id")).secret == "sesame");
  const auto second = world.ask_later(b, password("ann@b")), third = world.ask_later(c, password("ann@c"));
  world.secrets.accepted(a);
  world.settle();
  CHECK(second->secret == "common");
  CHECK(third->times == 0);
  world.secrets.accepted(b);
  world.settle();
  CHECK(third->secret == "common");
}

TEST_CASE("what is said to be refused after the host let us in is somebody else's") {
  World world;
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  world.secrets.accepted(a);
  world.secrets.refused(a);
  CHECK(world.ask(world.secrets.open("b"), password("ann@b")).secret == "common");
}

TEST_CASE("a host that keeps the password for all without a word holds up the next for ten seconds") {
  SimWorld world{1};
  SimLoop& loop = world.add_loop();
  Person person{loop};
  person.answers = {"common"};
  Secrets secrets{loop, person};
  secrets.ask_common([](const Asker::Answer&) {});
  world.run_until_idle();
  std::vector<std::pair<std::string, Nanos>> given;
  const auto ask = [&](const std::string& name) {
    secrets.ask(secrets.open(name), password("ann@" + name), [&, name](Result<std::vector<Secret>> got) {
      REQUIRE(got);
      given.emplace_back(name, loop.now());
    });
  };
  const Nanos begun = loop.now();
  ask("hangs");
  ask("next");
  ask("last");
  world.run_for(25 * kSecond);
  REQUIRE(given.size() == 3);
  CHECK(given[0].first == "hangs");
  CHECK(given[1].first == "next");
  CHECK(given[1].second - begun >= 10 * kSecond);
  CHECK(given[1].second - begun < 11 * kSecond);
  CHECK(given[2].second - begun >= 20 * kSecond);  // one at a time, still
}

TEST_CASE("who has gone is not answered") {
  World world({"late"});
  const Secrets::LoginId a = world.secrets.open("a");
  const auto heard = world.ask_later(a, password("ann@a"));
  world.secrets.close(a);
  world.settle();
  CHECK(heard->times == 0);
  CHECK(world.person.asked.empty());
}

TEST_CASE("what ssh asks is told by its words, and a host cannot speak for ssh") {
  using Kind = AskpassPrompt::Kind;
  const struct {
    const char* text;
    const char* hint;
    Kind kind;
    const char* of;
  } table[] = {
      {"Enter passphrase for key '/home/ann/.ssh/id': ", "", Kind::kPassphrase, "/home/ann/.ssh/id"},
      {"ann@web1's password: ", "", Kind::kPassword, "ann@web1"},
      {"(ann@web1) Password: ", "", Kind::kOther, "ann@web1"},
      {"(ann@web1) Enter passphrase for key '/home/ann/.ssh/id': ", "", Kind::kOther, "ann@web1"},
      {"(ann@web1) bob@bank's password: ", "", Kind::kOther, "ann@web1"},
      {"(some thing) x: ", "", Kind::kOther, ""},
      {"The authenticity ... (yes/no/[fingerprint])? ", "", Kind::kRefused, ""},
      {"Allow use of key?", "confirm", Kind::kRefused, ""},
      {"Confirm user presence for key", "none", Kind::kNotice, ""},
      {"Enter PIN for 'card': ", "", Kind::kOther, ""},
      {"Enter ann@web1's old password: ", "", Kind::kOther, ""},
      {"x\nann@web1's password: ", "", Kind::kOther, ""},
      {"Enter passphrase for key '': ", "", Kind::kOther, ""},
  };
  for (const auto& row : table) {
    CAPTURE(row.text);
    const AskpassPrompt got = classify_askpass_prompt(row.text, row.hint);
    CHECK(got.kind == row.kind);
    CHECK(got.of == row.of);
  }
  const std::string long_name(100, 'x');
  CHECK(classify_askpass_prompt("Enter passphrase for key '" + long_name + "': ", "").kind == Kind::kOther);
}

TEST_CASE("only ssh's own last word on the account that was asked is a refusal") {
  const struct {
    const char* line;
    bool is_refusal;
  } table[] = {
      {"ann@web1: Permission denied (publickey,password).", true},
      {"Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", true},
      {"Could not chdir to home directory /home/ann: Permission denied", false},
      {"bash: /home/ann/.bashrc: Permission denied", false},
      {"git@github.com: Permission denied (publickey).", false},
      {"bob@web1: Permission denied (publickey).", false},
      {"x ann@web1: Permission denied (publickey).", false},
      {"ann@web1: Permission denied (publickey). Or so.", false},
      {"ann@web1: Permission denied", false},
      // The question that follows says it.
      {"Permission denied, please try again.", false},
      {"", false},
  };
  for (const auto& row : table) {
    CAPTURE(row.line);
    CHECK(is_refusal_by_ssh(row.line, "ann@web1") == row.is_refusal);
  }
  CHECK_FALSE(is_refusal_by_ssh(": Permission denied (publickey).", ""));
}

namespace {

bool contains_refusal(const std::string& error) {
  return error.find("refused") != error.npos;
}

Secrets::Want at_jump(const std::string& jump, std::uint64_t asker = 1) {
  return {
      .kind = Secrets::Kind::kPassword, .of = "ann@gw", .from_jump_host = true, .jump = jump, .asker = asker};
}

}  // namespace

TEST_CASE("a jump host's password is asked for once for all behind it, and one tries it first") {
  World world({"sesame"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  const auto first = world.ask_later(a, at_jump("gw", 1)), second = world.ask_later(b, at_jump("gw", 2));
  world.settle();
  CHECK(first->secret == "sesame");
  CHECK(second->times == 0);
  world.secrets.accepted(a);
  world.settle();
  CHECK(second->secret == "sesame");
  CHECK(world.ask(world.secrets.open("late"), at_jump("gw", 3)).secret == "sesame");
  REQUIRE(world.person.asked.size() == 1);
  CHECK(world.person.asked[0].items[0].text == "ann@gw's password: ");
}

TEST_CASE("who is asked by the host behind it has passed the jump host") {
  World world({"sesame", "own"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  const auto first = world.ask_later(a, at_jump("gw", 1)), second = world.ask_later(b, at_jump("gw", 2));
  world.settle();
  CHECK(second->times == 0);
  CHECK(world.ask(a, password("ann@a")).secret == "own");
  CHECK(second->secret == "sesame");
}

TEST_CASE("what a jump host has refused is given to nobody else, and after three times nobody is asked") {
  World world({"1", "2", "3", "4"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  const auto first = world.ask_later(a, at_jump("gw", 1)), other = world.ask_later(b, at_jump("gw", 2));
  world.settle();
  CHECK(first->secret == "1");
  CHECK(world.ask(a, at_jump("gw", 1)).secret == "2");  // that it asks again says that it was refused
  CHECK(other->times == 0);
  world.secrets.refused(a);  // ssh's last word
  world.secrets.close(a);
  world.settle();
  CHECK(other->secret == "3");
  CHECK(contains_refusal(world.ask(b, at_jump("gw", 2)).error));
  CHECK(contains_refusal(world.ask(world.secrets.open("c"), at_jump("gw", 3)).error));
  CHECK(world.person.asked.size() == 3);
}

TEST_CASE("jump hosts that are reached in another way, and codes, have nothing in common") {
  World world({"1", "2", "3", "4", "5", "6"});
  CHECK(world.ask(world.secrets.open("a"), at_jump("gw", 1)).secret == "1");
  CHECK(world.ask(world.secrets.open("b"), at_jump("-p\n2222\ngw", 2)).secret == "2");
  CHECK(world.ask(world.secrets.open("c"), at_jump("", 3)).secret == "3");
  Secrets::Want code = at_jump("gw", 4);
  code.kind = Secrets::Kind::kOther;
  code.items = {{"Verification code: ", false}};
  CHECK(world.ask(world.secrets.open("d"), code).secret == "4");
  CHECK(world.ask(world.secrets.open("e"), code).secret == "5");
}

TEST_CASE("a host that keeps a jump host's password without a word holds up the others for ten seconds") {
  SimWorld world(1);
  SimLoop& loop = world.add_loop();
  Person person{loop};
  person.answers = {"sesame"};
  Secrets secrets{loop, person};
  std::string second;
  const Secrets::LoginId a = secrets.open("a"), b = secrets.open("b");
  secrets.ask(a, at_jump("gw", 1), [](Result<std::vector<Secret>>) {});
  secrets.ask(b, at_jump("gw", 2),
              [&](Result<std::vector<Secret>> given) { second = given ? given->front().text() : "none"; });
  world.run_for(9 * kSecond);
  CHECK(second.empty());
  world.run_for(2 * kSecond);
  CHECK(second == "sesame");
}

TEST_CASE("a jump host's refusal is seen by its user, whatever name it goes by") {
  const std::string line = "ann@10.0.0.1: Permission denied (publickey,password).";
  CHECK(is_refusal_by_ssh(line, "ann@gw", true));
  CHECK_FALSE(is_refusal_by_ssh(line, "ann@gw"));
  CHECK_FALSE(is_refusal_by_ssh("bob@10.0.0.1: Permission denied (password).", "ann@gw", true));
  CHECK_FALSE(is_refusal_by_ssh("ann@10.0.0.1 said: Permission denied (x).", "ann@gw", true));
}

TEST_CASE("a host that was hung up on behind the questions of others may be tried again after the answer") {
  SimWorld sim{1};
  SimLoop& loop = sim.add_loop();
  Person person{loop};
  person.is_slow = true;
  person.answers = {"one"};
  Secrets secrets{loop, person};
  const Secrets::LoginId a = secrets.open("a"), b = secrets.open("b");
  const Secrets::AskId first = secrets.ask(a, password("ann@a"), [](Result<std::vector<Secret>>) {});
  const Secrets::AskId second = secrets.ask(b, password("ann@b"), [](Result<std::vector<Secret>>) {});
  sim.run_until_idle();
  person.seen = 1;
  bool is_answered = false;
  CHECK(secrets.hung_up(b, second));
  CHECK(secrets.take_may_try_again(b));
  CHECK_FALSE(secrets.take_may_try_again(b));
  secrets.after_answer([&] { is_answered = true; });
  sim.run_until_idle();
  CHECK_FALSE(is_answered);
  CHECK_FALSE(secrets.hung_up(a, first));  // a person was asked for this one, and was late
  sim.run_until_idle();
  CHECK(is_answered);
  CHECK(person.cancelled == 2);
}

TEST_CASE("a passphrase stays asked for when a server hangs up, and is used by those that come again") {
  SimWorld sim{1};
  SimLoop& loop = sim.add_loop();
  Person person{loop};
  person.is_slow = true;
  person.answers = {"sesame"};
  Secrets secrets{loop, person};
  const Secrets::LoginId a = secrets.open("a");
  const Secrets::AskId asked = secrets.ask(a, passphrase("/id"), [](Result<std::vector<Secret>>) {});
  sim.run_until_idle();
  person.seen = 1;
  CHECK(secrets.hung_up(a, asked));
  CHECK(person.cancelled == 0);
  person.answer_now();
  sim.run_until_idle();
  secrets.begin_try(a);
  std::string given;
  secrets.ask(a, passphrase("/id"), [&](Result<std::vector<Secret>> got) {
    if (got) given = got->front().text();
  });
  sim.run_until_idle();
  CHECK(given == "sesame");
  CHECK(person.asked.size() == 1);
}

TEST_CASE("what was typed for a connection that had gone by then is given to the next one") {
  World world({"one", "two"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  const auto first = world.ask_later(a, password("ann@a")), second = world.ask_later(b, password("ann@b"));
  world.settle();
  CHECK(second->secret == "two");
  world.secrets.cut_off(a);
  CHECK_FALSE(world.secrets.take_may_try_again(a));  // it waited for nobody
  world.secrets.cut_off(b);
  CHECK(world.secrets.take_may_try_again(b));
  world.secrets.begin_try(b);
  CHECK(world.ask(b, password("ann@b")).secret == "two");
  world.secrets.cut_off(b);
  CHECK_FALSE(world.secrets.take_may_try_again(b));  // this one did not wait: the server did not like it
  CHECK(world.person.asked.size() == 2);
}

TEST_CASE("a server that hangs up on the password for all without a word has refused it") {
  World world;
  world.have_common("common");
  const Secrets::LoginId a = world.secrets.open("a");
  CHECK(world.ask(a, password("ann@a")).secret == "common");
  world.secrets.cut_off(a, true);
  CHECK(contains_refusal(world.ask(world.secrets.open("b"), password("ann@b")).error));
}

TEST_CASE("what was refused is not given again because the server hung up then") {
  World world({"one", "two", "three"});
  const Secrets::LoginId a = world.secrets.open("a"), b = world.secrets.open("b");
  const auto first = world.ask_later(a, password("ann@a")), second = world.ask_later(b, password("ann@b"));
  world.settle();
  world.secrets.refused(b);
  world.secrets.cut_off(b);
  CHECK_FALSE(world.secrets.take_may_try_again(b));
  world.secrets.begin_try(b);
  CHECK(world.ask(b, password("ann@b")).secret == "three");
}

TEST_CASE("the time of machines stands still while a person is asked, be it several things at once") {
  SimWorld sim{1};
  SimLoop& loop = sim.add_loop();
  Person person(loop);
  person.is_slow = true;
  Secrets secrets(loop, person);
  const Nanos began = secrets.machine_time();
  loop.after(1 * kSecond, [&] { secrets.put({}, [](Asker::Answer) {}); });
  loop.after(2 * kSecond, [&] { secrets.put({}, [](Asker::Answer) {}); });
  for (const Nanos answered : {5 * kSecond, 8 * kSecond}) loop.after(answered, [&] { person.answer_now(); });
  Nanos while_asked = 0, after = 0;
  loop.after(7 * kSecond, [&] { while_asked = secrets.machine_time(); });
  loop.after(11 * kSecond, [&] { after = secrets.machine_time(); });
  sim.run_for(12 * kSecond);
  CHECK(while_asked - began == 1 * kSecond);
  CHECK(after - began == 4 * kSecond);
}
