// A live view of a described struct: which keys there are and where their values live. Built once per use from
// `describe` (core/field.h), so that reading, writing and explaining are ordinary functions and not templates.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/field.h"

namespace lacuna::config {

struct Record;
class Choice;
class Container;
class Union;

/// One value of a config: what kind it is and how to reach it. Valid while the struct it looks into lives unmoved.
struct Value {
  std::variant<bool*, int*, std::int64_t*, std::uint64_t*, double*, std::string*, std::shared_ptr<Choice>,
               std::shared_ptr<Container>, std::shared_ptr<Union>, std::shared_ptr<Record>>
      target;
  std::shared_ptr<void> owner = nullptr;  ///< keeps a prototype alive

  /// The T it holds, or null.
  template <class T>
  T* as() const& {
    return std::visit(
        []<class Held>(const Held& held) -> T* {
          if constexpr (std::is_same_v<Held, T*>) return held;
          else if constexpr (std::is_same_v<Held, std::shared_ptr<T>>) return held.get();
          else return nullptr;
        },
        target);
  }
  template <class T>
  T* as() const&& = delete;  ///< would outlive what it points to
};

struct Field {
  std::string key;
  std::string doc;
  FieldRule rule;
  Value value;
};

/// "> 0", "in [0, 1)", "one of a, b"; "" when anything goes.
std::string constraint(const FieldRule& rule);

/// A described struct: a section.
struct Record {
  std::vector<Field> fields;
  std::function<void(const ReportProblem&)> validate;  ///< empty when the struct has no `validate`
};

/// An enum.
class Choice {
 public:
  virtual ~Choice() = default;
  virtual std::vector<std::string> names() const = 0;
  virtual std::size_t get() const = 0;  ///< index into names
  virtual void set(std::size_t index) = 0;
};

/// std::vector, a vector of (key, value) pairs, or std::optional as a list of at most one.
class Container {
 public:
  enum class Kind { list, map, optional };
  virtual ~Container() = default;
  virtual Kind kind() const = 0;
  virtual std::size_t size() const = 0;
  virtual void clear() = 0;
  virtual Value append(const std::string& key) = 0;  ///< `key` is for maps; invalidates earlier elements
  virtual Value at(std::size_t index) = 0;
  virtual std::string key(std::size_t index) const = 0;
  virtual Value prototype() const = 0;  ///< a default element of its own
};

/// std::variant of described structs that each name themselves by kType.
class Union {
 public:
  virtual ~Union() = default;
  virtual std::vector<std::string> types() const = 0;
  virtual std::size_t active() const = 0;
  virtual Value get() = 0;
  virtual Value select(std::size_t type) = 0;           ///< a fresh one, unless that type is active already
  virtual Value prototype(std::size_t type) const = 0;  ///< what select would give, as a copy
};

template <class T>
Value value_of(T& x);

namespace detail {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class T>
struct IsMap<std::vector<std::pair<std::string, T>>> : std::true_type {
  using Element = T;
};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVariant : std::false_type {};
template <class... T>
struct IsVariant<std::variant<T...>> : std::true_type {};

template <class T>
Value owned(T x) {
  auto holder = std::make_shared<T>(std::move(x));
  Value value = value_of(*holder);
  value.owner = holder;
  return value;
}

template <class E>
class ChoiceOf final : public Choice {
 public:
  explicit ChoiceOf(E& x) : x_(x), names_(enum_names(E{})) {}
  std::vector<std::string> names() const override {
    std::vector<std::string> result;
    for (const auto& entry : names_) result.push_back(entry.first);
    return result;
  }
  std::size_t get() const override {
    std::size_t i = 0;
    while (i + 1 < names_.size() && names_[i].second != x_) ++i;
    return i;
  }
  void set(std::size_t index) override { x_ = names_[index].second; }

 private:
  E& x_;
  EnumNames<E> names_;
};

template <class V>
class ListOf final : public Container {
 public:
  explicit ListOf(V& x) : x_(x) {}
  Kind kind() const override { return Kind::list; }
  std::size_t size() const override { return x_.size(); }
  void clear() override { x_.clear(); }
  Value append(const std::string&) override { return value_of(x_.emplace_back()); }
  Value at(std::size_t index) override { return value_of(x_[index]); }
  std::string key(std::size_t index) const override { return std::to_string(index); }
  Value prototype() const override { return owned(typename V::value_type{}); }

 private:
  V& x_;
};

template <class V>
class MapOf final : public Container {
 public:
  explicit MapOf(V& x) : x_(x) {}
  Kind kind() const override { return Kind::map; }
  std::size_t size() const override { return x_.size(); }
  void clear() override { x_.clear(); }
  Value append(const std::string& key) override {
    x_.emplace_back().first = key;
    return value_of(x_.back().second);
  }
  Value at(std::size_t index) override { return value_of(x_[index].second); }
  std::string key(std::size_t index) const override { return x_[index].first; }
  Value prototype() const override { return owned(typename IsMap<V>::Element{}); }

 private:
  V& x_;
};

template <class V>
class OptionalOf final : public Container {
 public:
  explicit OptionalOf(V& x) : x_(x) {}
  Kind kind() const override { return Kind::optional; }
  std::size_t size() const override { return x_.has_value(); }
  void clear() override { x_.reset(); }
  Value append(const std::string&) override { return value_of(x_.emplace()); }
  Value at(std::size_t) override { return value_of(*x_); }
  std::string key(std::size_t) const override { return ""; }
  Value prototype() const override { return owned(typename V::value_type{}); }

 private:
  V& x_;
};

template <class V>
class UnionOf;
template <class... T>
class UnionOf<std::variant<T...>> final : public Union {
 public:
  explicit UnionOf(std::variant<T...>& x) : x_(x) {}
  std::vector<std::string> types() const override { return {T::kType...}; }
  std::size_t active() const override { return x_.index(); }
  Value get() override {
    return std::visit([](auto& alternative) { return value_of(alternative); }, x_);
  }
  Value select(std::size_t type) override {
    if (type != x_.index()) x_ = fresh(type);
    return get();
  }
  Value prototype(std::size_t type) const override {
    return std::visit([](auto alternative) { return owned(std::move(alternative)); },
                      type == x_.index() ? x_ : fresh(type));
  }

 private:
  static std::variant<T...> fresh(std::size_t type) {
    const std::vector<std::variant<T...>> all{T{}...};
    return all.at(type);
  }
  std::variant<T...>& x_;
};

/// The visitor that `describe` is called with.
struct Collector {
  Record& record;
  template <class M, class... R>
  void operator()(const char* key, M& member, const char* doc, const R&... rules) const {
    record.fields.push_back({key, doc, (FieldRule{} & ... & rules), value_of(member)});
  }
};

}  // namespace detail

template <class T>
Value value_of(T& x) {
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, int> || std::is_same_v<T, std::int64_t> ||
                std::is_same_v<T, std::uint64_t> || std::is_same_v<T, double> || std::is_same_v<T, std::string>) {
    return {&x};
  } else if constexpr (std::is_enum_v<T>) {
    return {std::shared_ptr<Choice>(std::make_shared<detail::ChoiceOf<T>>(x))};
  } else if constexpr (detail::IsMap<T>::value) {
    return {std::shared_ptr<Container>(std::make_shared<detail::MapOf<T>>(x))};
  } else if constexpr (detail::IsVector<T>::value) {
    return {std::shared_ptr<Container>(std::make_shared<detail::ListOf<T>>(x))};
  } else if constexpr (detail::IsOptional<T>::value) {
    return {std::shared_ptr<Container>(std::make_shared<detail::OptionalOf<T>>(x))};
  } else if constexpr (detail::IsVariant<T>::value) {
    return {std::shared_ptr<Union>(std::make_shared<detail::UnionOf<T>>(x))};
  } else {
    auto record = std::make_shared<Record>();
    describe(x, detail::Collector{*record});
    if constexpr (requires(const ReportProblem& report) { validate(std::as_const(x), report); }) {
      record->validate = [&x](const ReportProblem& report) { validate(std::as_const(x), report); };
    }
    return {record};
  }
}

}  // namespace lacuna::config
