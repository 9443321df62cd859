"""A small recommender: alternating least squares, and popularity as its rival. Standard library only.

What `train.py` writes and `serve.py` reads is defined here, so that both agree on it.
"""

import csv
import json
import math
import random
import struct
from pathlib import Path

MAGIC = b"ALS1"


# --- Data -----------------------------------------------------------------------------------------------------------


def generate_interactions(path, users=400, movies=150, per_user=25, seed=1):
    """Writes who rated what. People and movies have two hidden tastes; the same seed gives the same bytes."""
    chance = random.Random(seed)
    tastes = [(chance.gauss(0, 1), chance.gauss(0, 1)) for _ in range(users)]
    traits = [(chance.gauss(0, 1), chance.gauss(0, 1)) for _ in range(movies)]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["user_id", "movie_id", "rating"])
        for user, taste in enumerate(tastes):
            for movie in sorted(chance.sample(range(movies), per_user)):
                liking = taste[0] * traits[movie][0] + taste[1] * traits[movie][1] + chance.gauss(0, 0.3)
                rows.writerow([39000 + user, f"movie+{movie:03d}", max(1, min(5, round(3 + liking)))])


def read_interactions(path):
    """The ratings by user and by movie, and the numbers that users and movies go by."""
    users, movies, ratings = {}, {}, []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            user = users.setdefault(row["user_id"], len(users))
            movie = movies.setdefault(row["movie_id"], len(movies))
            ratings.append((user, movie, float(row["rating"])))
    return users, movies, ratings


# --- Training -------------------------------------------------------------------------------------------------------


def train_als(users, movies, ratings, rank, iterations, regularization, seed):
    """Factors whose products come near the ratings: one side is solved exactly while the other stands still."""
    chance = random.Random(seed)
    mean = sum(rating for _, _, rating in ratings) / len(ratings)
    by_user = [[] for _ in users]
    by_movie = [[] for _ in movies]
    for user, movie, rating in ratings:
        by_user[user].append((movie, rating - mean))
        by_movie[movie].append((user, rating - mean))
    user_factors = [[0.0] * rank for _ in users]
    movie_factors = [[chance.gauss(0, 0.1) for _ in range(rank)] for _ in movies]
    for _ in range(iterations):
        for user, seen in enumerate(by_user):
            user_factors[user] = solve_factors(seen, movie_factors, rank, regularization)
        for movie, seen in enumerate(by_movie):
            movie_factors[movie] = solve_factors(seen, user_factors, rank, regularization)
    return mean, user_factors, movie_factors


def solve_factors(seen, others, rank, regularization):
    """The least-squares factors for one row, by the normal equations."""
    matrix = [[regularization if row == column else 0.0 for column in range(rank)] for row in range(rank)]
    target = [0.0] * rank
    for other, rating in seen:
        factors = others[other]
        for row in range(rank):
            target[row] += factors[row] * rating
            for column in range(rank):
                matrix[row][column] += factors[row] * factors[column]
    return solve(matrix, target)


def solve(matrix, target):
    """Gauss elimination with pivots; the matrix is small and positive definite."""
    size = len(target)
    for step in range(size):
        pivot = max(range(step, size), key=lambda row: abs(matrix[row][step]))
        matrix[step], matrix[pivot] = matrix[pivot], matrix[step]
        target[step], target[pivot] = target[pivot], target[step]
        for row in range(step + 1, size):
            factor = matrix[row][step] / matrix[step][step]
            for column in range(step, size):
                matrix[row][column] -= factor * matrix[step][column]
            target[row] -= factor * target[step]
    result = [0.0] * size
    for row in reversed(range(size)):
        rest = sum(matrix[row][column] * result[column] for column in range(row + 1, size))
        result[row] = (target[row] - rest) / matrix[row][row]
    return result


def root_mean_square_error(model, ratings):
    mean, user_factors, movie_factors = model
    total = 0.0
    for user, movie, rating in ratings:
        guess = mean + sum(a * b for a, b in zip(user_factors[user], movie_factors[movie]))
        total += (guess - rating) ** 2
    return math.sqrt(total / len(ratings))


def train_popularity(movies, ratings):
    """Every movie's mean rating, drawn to the middle when few have rated it."""
    totals = [(0.0, 0)] * len(movies)
    for _, movie, rating in ratings:
        total, count = totals[movie]
        totals[movie] = (total + rating, count + 1)
    return [(total + 3.0 * 5) / (count + 5) for total, count in totals]


# --- Artifacts ------------------------------------------------------------------------------------------------------


def write_factors(path, mean, user_factors, movie_factors):
    """A header, the mean, then every factor as a little-endian double."""
    rank = len(movie_factors[0])
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<IIId", rank, len(user_factors), len(movie_factors), mean))
        for row in user_factors + movie_factors:
            file.write(struct.pack(f"<{rank}d", *row))


def read_factors(path):
    data = Path(path).read_bytes()
    if data[:4] != MAGIC:
        raise ValueError(f"{path} is no model of this recommender")
    rank, users, movies, mean = struct.unpack_from("<IIId", data, 4)
    values = struct.iter_unpack(f"<{rank}d", data[4 + struct.calcsize("<IIId") :])
    rows = [list(row) for row in values]
    return mean, rows[:users], rows[users : users + movies]


class AlsModel:
    """Recommends what a user's factors like; a stranger gets what everybody likes."""

    def __init__(self, directory):
        directory = Path(directory)
        self.mean, self.user_factors, self.movie_factors = read_factors(directory / "als_model.bin")
        self.users = json.loads((directory / "user_map.json").read_text())
        self.movies = sorted(json.loads((directory / "movie_map.json").read_text()).items(), key=lambda pair: pair[1])

    def recommend(self, user, count):
        number = self.users.get(user)
        if number is None:
            length = len(self.movie_factors[0])
            taste = [sum(row[i] for row in self.user_factors) / len(self.user_factors) for i in range(length)]
        else:
            taste = self.user_factors[number]
        scores = [(sum(a * b for a, b in zip(taste, self.movie_factors[number])), name) for name, number in self.movies]
        return [name for _, name in sorted(scores, key=lambda pair: (-pair[0], pair[1]))[:count]]


class PopularityModel:
    """Recommends to everybody alike."""

    def __init__(self, directory):
        self.scores = json.loads((Path(directory) / "popgen_model.json").read_text())

    def recommend(self, user, count):
        return sorted(self.scores, key=lambda name: (-self.scores[name], name))[:count]
