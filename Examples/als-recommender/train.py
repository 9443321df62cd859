#!/usr/bin/env python3
"""Trains a model on data that it generates, and has Colophon write the manifest of it.

    train.py --colophon PATH [--family als|popgen] [--seed N] [--model-version ID] [--directory DIR]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import recommender


def main():
    options = parse()
    directory = Path(options.directory)
    data = directory / "data" / "interactions.csv"
    artifacts = directory / "artifacts" / options.family
    data.parent.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    if not data.exists():
        recommender.generate_interactions(data)

    users, movies, ratings = recommender.read_interactions(data)
    if options.family == "als":
        hyperparameters = {
            "rank": options.rank,
            "iterations": options.iterations,
            "regularization": options.regularization,
            "seed": options.seed,
        }
        model = recommender.train_als(users, movies, ratings, **hyperparameters)
        error = recommender.root_mean_square_error(model, ratings)
        print(f"trained on {len(ratings)} ratings: root mean square error {error:.3f}")
        recommender.write_factors(artifacts / "als_model.bin", *model)
        write_json(artifacts / "user_map.json", users)
        write_json(artifacts / "movie_map.json", movies)
        files = {"als_model": "als_model.bin", "user_map": "user_map.json", "movie_map": "movie_map.json"}
    else:
        hyperparameters = {"prior_mean": 3.0, "prior_count": 5}
        scores = recommender.train_popularity(movies, ratings)
        print(f"counted {len(ratings)} ratings")
        write_json(artifacts / "popgen_model.json", {name: scores[number] for name, number in movies.items()})
        files = {"popgen_model": "popgen_model.json"}
    return create_manifest(options, data, artifacts, files, hyperparameters)


def create_manifest(options, data, artifacts, files, hyperparameters):
    command = [options.colophon, "manifest", "create", "--model-family", options.family, "--data", str(data)]
    command += ["--artifact-dir", str(artifacts), "--profile", "user=user_id,movie=movie_id"]
    for name, file in files.items():
        command += ["--artifact", f"{name}={artifacts / file}"]
    for name, value in hyperparameters.items():
        command += ["--hyperparameter", f"{name}={json.dumps(value)}"]
    if options.model_version:
        command += ["--model-version", options.model_version]
    if options.data_version:
        command += ["--data-version", options.data_version]
    return subprocess.run(command, check=False).returncode


def write_json(path, value):
    path.write_text(json.dumps(value, indent=0, sort_keys=True) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--colophon", default="colophon", help="the colophon program")
    parser.add_argument("--family", choices=["als", "popgen"], default="als")
    parser.add_argument("--directory", default=".", help="where data/ and artifacts/ go")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--regularization", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model-version", default="")
    parser.add_argument("--data-version", default="")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("train.py: interrupted; run it again")
