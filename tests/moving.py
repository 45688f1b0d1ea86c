"""Movement for tests of files: random bodies, and where programs that we did not write see their joints."""

import numpy as np

from hftrainer.motion.rotation import rotvec_to_matrix
from hftrainer.motion.skeleton import SMPL22

MM = 1e-3


def turning(frames: int = 24, seed: int = 0, heading: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Wild but smooth rotations ``(T, 22, 3, 3)`` and a pelvis path ``(T, 3)``: raised arms, bends, half turns."""
    rng = np.random.default_rng(seed)
    at = np.arange(frames)[:, None, None] / frames
    middle, swing, phase = rng.uniform(-0.5, 0.5, (22, 3)), rng.uniform(-0.9, 0.9, (22, 3)), rng.uniform(0, 6, (22, 1))
    local = rotvec_to_matrix(middle + swing * np.sin(2 * np.pi * at + phase))
    turn = np.zeros((frames, 3))
    turn[:, 1] = heading + 2.5 * at[:, 0, 0]
    local[:, 0] = rotvec_to_matrix(turn) @ local[:, 0]
    return local, [0, 0.95, 0] + np.cumsum(rng.uniform(-0.03, 0.03, (frames, 3)), axis=0)


def lively(frames: int = 24, seed: int = 0, heading: float = 0.0) -> np.ndarray:
    """Joints of a body of constant bones that turns so; ``(T, 22, 3)``."""
    local, pelvis = turning(frames, seed, heading)
    joints, world = np.zeros((frames, 22, 3)), np.empty_like(local)
    joints[:, 0] = pelvis
    for joint, parent in enumerate(SMPL22.parents):
        world[:, joint] = local[:, joint] if parent < 0 else world[:, parent] @ local[:, joint]
        if parent >= 0:
            joints[:, joint] = joints[:, parent] + world[:, parent] @ SMPL22.rest[joint]
    return joints


def loosened(joints: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same joints as a network has them: bones that stretch."""
    return joints + np.random.default_rng(seed).normal(0, 0.01, joints.shape)


def seen_by_bvhio(path, names=SMPL22.joints) -> np.ndarray:
    """``(T, 22, 3)`` joint positions as bvhio places them, in the file's unit."""
    import bvhio

    root = bvhio.readAsHierarchy(str(path))
    by_name = {joint.Name: joint for joint, _, _ in root.layout()}
    frames = root.getKeyframeRange()[1] + 1
    positions = np.empty((frames, 22, 3))
    for frame in range(frames):
        root.loadPose(frame)
        positions[frame] = [tuple(by_name[name].PositionWorld) for name in names]
    return positions


class Glb:
    """A GLB as pygltflib reads it: arrays by accessor, node matrices by frame."""

    def __init__(self, path) -> None:
        import pygltflib

        self.file = pygltflib.GLTF2().load(str(path))
        self.blob = self.file.binary_blob()
        self.kinds = {5126: "<f4", 5121: "u1", 5123: "<u2"}

    def array(self, accessor: int) -> np.ndarray:
        about = self.file.accessors[accessor]
        view = self.file.bufferViews[about.bufferView]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[about.type]
        start = view.byteOffset + (about.byteOffset or 0)
        values = np.frombuffer(self.blob, self.kinds[about.componentType], about.count * width, start)
        return values.reshape(about.count, width)

    @property
    def times(self) -> np.ndarray:
        """Seconds of the key frames."""
        return self.array(self.file.animations[0].samplers[0].input).ravel()

    def matrices(self) -> np.ndarray:
        """``(T, N, 4, 4)`` world matrices of all nodes at the key frames; columns multiply."""
        from scipy.spatial.transform import Rotation

        nodes, animation = self.file.nodes, self.file.animations[0]
        frames = len(self.times)
        local = np.tile(np.eye(4), (frames, len(nodes), 1, 1))
        for number, node in enumerate(nodes):
            if node.translation:
                local[:, number, :3, 3] = node.translation
            if node.rotation:
                local[:, number, :3, :3] = Rotation.from_quat(node.rotation).as_matrix()
        for channel in animation.channels:
            values = self.array(animation.samplers[channel.sampler].output)
            if channel.target.path == "rotation":
                local[:, channel.target.node, :3, :3] = Rotation.from_quat(values).as_matrix()
            else:
                assert channel.target.path == "translation"
                local[:, channel.target.node, :3, 3] = values
        world = local.copy()
        waiting = list(self.file.scenes[0].nodes)
        while waiting:
            number = waiting.pop()
            for child in nodes[number].children or ():
                world[:, child] = world[:, number] @ local[:, child]
                waiting.append(child)
        return world

    def joints(self) -> np.ndarray:
        """``(T, 22, 3)`` positions of the skin's joints."""
        return self.matrices()[:, self.file.skins[0].joints][..., :3, 3]

    def skin(self) -> np.ndarray:
        """``(T, V, 3)`` the mesh as the skin moves it."""
        skin, part = self.file.skins[0], self.file.meshes[0].primitives[0].attributes
        bind = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        moves = self.matrices()[:, skin.joints] @ bind
        points = np.concatenate([self.array(part.POSITION), np.ones((len(self.array(part.POSITION)), 1))], axis=1)
        number, share = self.array(part.JOINTS_0), self.array(part.WEIGHTS_0)
        return sum(
            share[:, [k]] * np.einsum("tvab,vb->tva", moves[:, number[:, k]], points)[..., :3] for k in range(4)
        )


def seen_by_usd(path) -> tuple[np.ndarray, np.ndarray, float]:
    """Joints ``(T, 22, 3)``, skinned points ``(T, V, 3)`` and frames per second as Pixar's USD has them."""
    from pxr import Gf, Usd, UsdGeom, UsdSkel, Vt

    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    cache, root = UsdSkel.Cache(), UsdSkel.Root(stage.GetDefaultPrim())
    assert cache.Populate(root, Usd.PrimDefaultPredicate)
    (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
    query = cache.GetSkelQuery(binding.GetSkeleton())
    (target,) = binding.GetSkinningTargets()
    rest = UsdGeom.Mesh(target.GetPrim()).GetPointsAttr().Get()
    joints, skin = [], []
    for frame in range(int(stage.GetStartTimeCode()), int(stage.GetEndTimeCode()) + 1):
        joints.append([list(m.ExtractTranslation()) for m in query.ComputeJointSkelTransforms(frame)])
        points = Vt.Vec3fArray([Gf.Vec3f(p) for p in rest])
        assert target.ComputeSkinnedPoints(query.ComputeSkinningTransforms(frame), points, frame)
        skin.append(np.array(points))
    return np.array(joints), np.array(skin), stage.GetTimeCodesPerSecond()
