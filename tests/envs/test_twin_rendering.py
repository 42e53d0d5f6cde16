import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cosmos_sim.envs.twin.cameras import Cameras, in_view, place_camera
from cosmos_sim.envs.twin.meshes import clustered, coarsen_meshes
from cosmos_sim.envs.twin.pose import rotation_vector
from cosmos_sim.envs.twin.simulation import Simulation
from cosmos_sim.envs.twin.tasks import TASKS


@pytest.fixture(scope="module")
def lift():
    simulation = Simulation(TASKS["Lift"])
    place_camera(simulation.model, "agentview", simulation.task.agentview)
    simulation.reset(0)
    return simulation


def test_hiding_what_is_out_of_view_changes_no_pixel(lift, monkeypatch):
    cameras = Cameras(lift.model, size=64)
    for camera in ("agentview", "robot0_eye_in_hand"):
        seen = in_view(lift.model, lift.data, camera)
        assert 0 < seen.sum() < len(seen)
        culled = cameras.render(lift.data, camera)
        with monkeypatch.context() as patch:
            patch.setattr("cosmos_sim.envs.twin.cameras.in_view", lambda model, *_: np.ones(model.ngeom, bool))
            whole = cameras.render(lift.data, camera)
        np.testing.assert_array_equal(culled, whole)
        assert culled.std() > 20
    cameras.close()
    cameras.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_hand_and_the_objects_are_in_view_at_the_start(task):
    simulation = Simulation(TASKS[task])
    place_camera(simulation.model, "agentview", simulation.task.agentview)
    for seed in range(5):
        simulation.reset(seed)
        places = [value for name, value in simulation.truth().items() if name.endswith("_pos")]
        points = [place for place in places if place[0] < 3]  # the tabletop has bodies that are not in use
        camera = simulation.model.camera("agentview")
        view = (np.array(points) - camera.pos) @ simulation.task.agentview.rotation()
        assert (view[:, 2] < 0).all()
        across = np.abs(view[:, :2]) / -view[:, 2:] / np.tan(np.radians(camera.fovy[0]) / 2)
        assert across.max() < 0.95


def test_coarse_meshes_change_images_little_and_physics_not_at_all():
    images, states = [], []
    for coarse in (False, True):
        simulation = Simulation(TASKS["Lift"])
        if coarse:
            assert coarsen_meshes(simulation.model, cell=0.004, min_faces=1000) > 50_000
        cameras = Cameras(simulation.model, size=64)
        simulation.reset(3)
        for _ in range(3):
            simulation.step(np.array([0.5, 0.2, -1.0, 0.0, 0.0, 0.1, 1.0]))
        images.append(cameras.render(simulation.data, "agentview").astype(float))
        states.append(simulation.save().physics)
        cameras.close()
    np.testing.assert_array_equal(states[0], states[1])
    assert 0 < np.abs(images[0] - images[1]).mean() < 2


def test_clustering_drops_what_falls_into_one_cell():
    vertices = np.array([[0.1, 0.1, 0.1], [0.2, 0.1, 0.1], [0.4, 0.1, 0.1], [1.5, 0.5, 0.5], [0.5, 1.5, 0.5]])
    faces, kept = clustered(vertices, np.array([[0, 3, 4], [0, 1, 3], [2, 4, 3]]), 1.0)
    np.testing.assert_array_equal(kept, [True, False, True])
    np.testing.assert_array_equal(faces, [[1, 3, 4], [1, 4, 3]])


def test_rotation_vectors_stay_continuous_around_pointing_down():
    down = [rotation_vector(Rotation.from_euler("xyz", [np.pi + lean, 0.05, 0.1])) for lean in (-0.02, 0.02)]
    assert np.linalg.norm(down[0] - down[1]) < 0.1
    assert np.linalg.norm(down[1]) > np.pi


def test_rotation_vectors_are_the_same_rotation():
    for rotation in Rotation.random(50, random_state=0):
        vector = rotation_vector(rotation)
        assert vector[0] >= 0
        assert np.linalg.norm(vector) < 2 * np.pi
        assert (Rotation.from_rotvec(vector).inv() * rotation).magnitude() < 1e-6


def test_the_bin_is_where_robosuite_has_it():
    simulation = Simulation(TASKS["PickPlaceCan"])
    simulation.reset(0)
    bins = simulation._env.target_bin_placements
    np.testing.assert_allclose(simulation.truth()["bin_pos"], bins[simulation._env.object_to_id["can"]])
