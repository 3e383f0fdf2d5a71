// A process that has a store open, moved by a test: a command a line on standard input, an answer
// a line on standard output. It serves tests of what happens to an open store from outside: a full
// file system, a file that is cut, a second process. It keeps no model; the test does.
//
//   open PATH CACHE_MIB read|write DEVICE   "ok", or "CATEGORY NAME message"
//   put FIRST COUNT BYTES VERSION           "DONE ok", or "DONE CATEGORY message": durable in
//                                           batches of 16, which go to two trees each
//   del FIRST COUNT                         the same
//   list                                    "FIRST-LAST:VERSION ..." of the records that are there,
//                                           or "wrong N" if one is not what was put, or an error
//   grow BYTES, size, check, close          "ok", bytes, number of problems; or an error
//   end                                     ends the process without closing the store
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "pleach/pleach.hh"

namespace {

constexpr int batch_records = 16;
constexpr const char* tree_names[] = {"left", "right"};

std::string text_of(const pleach::error& e) {
  return fmt::format("{} {}", pleach::answer{.code = e.code}.name(), e.message);
}
std::string text_of(const pleach::answer& a) {
  return a.ok() ? "ok" : fmt::format("{} {}", a.name(), a.text());
}

std::string key_of(int i) {
  return fmt::format("{:08}", i);
}
std::string value_of(int i, int version, std::size_t bytes) {
  std::string value = fmt::format("{}:{}:", i, version);
  value.resize(std::max(bytes, value.size()), static_cast<char>('a' + (i + version) % 26));
  return value;
}

class hand {
 public:
  /// RETURNS: the answer to one command.
  std::string obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "open") return open(words);
    if (!store_) return "no store is open";
    if (verb == "put" || verb == "del") return change(words, verb == "put");
    if (verb == "list") return list();
    if (verb == "size") return std::to_string(store_->size_bytes());
    if (verb == "grow") return grow(words);
    if (verb == "check") return check();
    if (verb == "close") return close();
    return "unknown command";
  }

 private:
  std::string open(std::istringstream& words) {
    std::string path, how, device;
    pleach::open_options o;
    words >> path >> o.cache_bytes >> how >> device;
    o.cache_bytes <<= 20;
    o.read_only = how == "read";
    if (device == "threads") o.device = pleach::device_kind::threads;
    auto opened = pleach::store::open(path, o);
    if (!opened) return text_of(opened.error());
    store_.emplace(std::move(*opened));
    for (int i = 0; i < 2; ++i) {
      pleach::answer a = store_->run(store_->open_tree(tree_names[i], trees_[i]));
      if (a.what() == pleach::category::not_found && !o.read_only)
        a = store_->run(store_->create_tree(tree_names[i], {}, trees_[i]));
      if (!a) return text_of(a);
    }
    return "ok";
  }

  std::string change(std::istringstream& words, bool put) {
    int first = 0, count = 0, version = 0;
    std::size_t bytes = 0;
    words >> first >> count >> bytes >> version;
    int done = 0;
    while (done < count) {
      pleach::batch b(*store_);
      const int end = std::min(count, done + batch_records);
      for (int i = first + done; i < first + end; ++i) {
        if (put)
          b.upsert(trees_[i % 2], key_of(i), value_of(i, version, bytes));
        else
          b.del(trees_[i % 2], key_of(i));
      }
      const pleach::answer a = store_->run(b.commit());
      if (!a) return fmt::format("{} {}", done, text_of(a));
      done = end;
    }
    return fmt::format("{} ok", done);
  }

  std::string list() {
    std::map<int, int> version_of;
    for (pleach::tree& t : trees_) {
      pleach::cursor c(t);
      pleach::answer a = store_->run(c.first());
      for (; a; a = store_->run(c.next())) {
        int i = 0, version = 0;
        const std::string value(c.value());
        if (std::sscanf(value.c_str(), "%d:%d:", &i, &version) != 2 || c.key() != key_of(i) ||
            value != value_of(i, version, value.size()))
          return fmt::format("wrong {}", c.key());
        version_of[i] = version;
      }
      if (a.what() != pleach::category::not_found) return text_of(a);
    }
    return runs_of(version_of);
  }

  static std::string runs_of(const std::map<int, int>& version_of) {
    std::string out = "records";
    for (auto at = version_of.begin(); at != version_of.end();) {
      auto end = std::next(at);
      int last = at->first;
      while (end != version_of.end() && end->first == last + 1 && end->second == at->second)
        last = (end++)->first;
      out += fmt::format(" {}-{}:{}", at->first, last, at->second);
      at = end;
    }
    return out;
  }

  std::string grow(std::istringstream& words) {
    std::uint64_t bytes = 0;
    words >> bytes;
    auto grown = store_->grow(bytes);
    return grown ? "ok" : text_of(grown.error());
  }

  std::string check() {
    auto report = store_->check({});
    if (!report) return text_of(report.error());
    std::string out = std::to_string(report->problem_count);
    for (const pleach::problem& p : report->problems)
      out += fmt::format(" [{}: {}]", p.where, p.what);
    return out;
  }

  std::string close() {
    for (pleach::tree& t : trees_) t = {};
    auto closed = store_->close();
    store_.reset();
    return closed ? "ok" : text_of(closed.error());
  }

  std::optional<pleach::store> store_;
  pleach::tree trees_[2];  // go before the store
};

}  // namespace

int main() {
  hand h;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "end") std::_Exit(0);
    std::cout << h.obey(line) << std::endl;
  }
  return 0;
}
