"""The words in which measured events are told: subjects, phrases for each kind of event, and how verbs bend."""

from __future__ import annotations

#: Who does it.
SUBJECTS = (
    "a person", "someone", "somebody", "the person", "a human", "the figure", "an individual", "a human figure",
    "the character", "this person", "one person", "the human",
)  # fmt: skip

#: Phrases for each kind of event. ``*`` marks the verb, which takes the form that the sentence asks for.
PHRASES: dict[str, tuple[str, ...]] = {
    "walk_f": ("*walk forward", "*walk ahead", "*walk straight ahead", "*take steps forward", "*stroll forward",
               "*go forward on foot", "*move ahead at a walk", "*pace forward", "*walk along"),
    "walk_f_slow": ("*walk forward slowly", "slowly *walk forward", "*stroll forward slowly", "*amble ahead",
                    "*take slow steps forward", "*move forward at a slow walk", "*saunter ahead", "*wander forward"),
    "walk_f_fast": ("*walk forward quickly", "briskly *walk forward", "*stride forward", "*march ahead at a brisk pace",
                    "*hurry ahead with long steps", "*walk fast", "*walk ahead briskly", "*go ahead at a fast walk"),
    "walk_b": ("*walk backwards", "*walk backward", "*step backwards", "*take steps back", "*move back step by step",
               "*back away", "*go backwards", "*back up", "*retreat at a walk"),
    "walk_l": ("*step to the left", "*sidestep to the left", "*move sideways to the left", "*walk sideways to the left",
               "*shuffle to the left", "*take side steps left", "*go left sideways"),
    "walk_r": ("*step to the right", "*sidestep to the right", "*move sideways to the right",
               "*walk sideways to the right", "*shuffle to the right", "*take side steps right", "*go right sideways"),
    "step_f": ("*take a step forward", "*step forward", "*move a step ahead", "*come a little forward"),
    "step_b": ("*take a step back", "*step back", "*move back a little", "*go a step backwards"),
    "step_l": ("*take a step to the left", "*step left", "*move a little to the left"),
    "step_r": ("*take a step to the right", "*step right", "*move a little to the right"),
    "walk_on": ("*keep walking", "*walk on", "*continue walking", "*go on walking"),
    "jog_on": ("*keep jogging", "*jog on", "*continue jogging"),
    "run_on": ("*keep running", "*run on", "*continue running"),
    "stop": ("*stop", "*come to a stop", "*stop and *stand still", "*halt", "*stop moving", "*come to a halt",
             "*stand still", "*stand in place", "*stop and *wait"),
    "off_walk": ("*start walking", "*start to walk forward", "*begin to walk", "*walk off", "*set off at a walk",
                 "*walk forward", "*walk ahead", "*walk"),
    "off_run": ("*start running", "*start to run", "*begin to run", "*run off", "*set off at a run", "*run forward",
                "*dash ahead", "*run"),
    "into_walk": ("*slow down to a walk", "*slow down and *walk", "*start walking", "*slow to a walk", "*walk",
                  "*walk forward", "*go on at a walk", "*begin to walk"),
    "into_jog": ("*start to jog", "*break into a jog", "*start running", "*begin to jog", "*speed up to a jog", "*jog",
                 "*run slowly", "*jog forward"),
    "into_run": ("*start to run", "*start running", "*break into a run", "*begin to run", "*speed up to a run", "*run",
                 "*run forward", "*run faster"),
    "jog_f": ("*jog forward", "*jog ahead", "*jog along", "*jog straight ahead", "*trot forward", "*run slowly forward",
              "*run ahead at an easy pace", "*move ahead at a jog"),
    "run_f": ("*run forward", "*run ahead", "*run", "*run straight ahead", "*dash forward", "*run along",
              "*hurry ahead at a run", "quickly *run forward", "*rush forward"),
    "sprint_f": ("*run forward fast", "*sprint", "*sprint forward", "*run very quickly", "*race ahead",
                 "*run as fast as possible", "*dash ahead at full speed", "*charge forward"),
    "run_b": ("*run backwards", "*run backward", "*jog backwards", "quickly *run backwards", "*go backwards at a run"),
    "run_l": ("quickly *sidestep to the left", "*shuffle fast to the left", "*move quickly sideways to the left",
              "*rush to the left"),
    "run_r": ("quickly *sidestep to the right", "*shuffle fast to the right", "*move quickly sideways to the right",
              "*rush to the right"),
    "circle_l": ("{gait} in a circle to the left", "{gait} around in a circle counterclockwise",
                 "{gait} in a counterclockwise circle", "{gait} in a circle, always turning left"),
    "circle_r": ("{gait} in a circle to the right", "{gait} around in a circle clockwise",
                 "{gait} in a clockwise circle", "{gait} in a circle, always turning right"),
    "veer_l": ("{gait} and *veer left", "{gait} forward, bearing left", "{gait} along a curve to the left",
               "{gait} ahead and *turn slightly left", "{gait} in a slight left curve",
               "{gait} diagonally to the left"),
    "veer_r": ("{gait} and *veer right", "{gait} forward, bearing right", "{gait} along a curve to the right",
               "{gait} ahead and *turn slightly right", "{gait} in a slight right curve",
               "{gait} diagonally to the right"),
    "quarter_l": ("{gait} and *turn left", "{gait} and *turn 90 degrees to the left",
                  "{gait} around a corner to the left",
                  "{gait} with a sharp left turn", "{gait} and *make a left turn", "{gait} and *take a left"),
    "quarter_r": ("{gait} and *turn right", "{gait} and *turn 90 degrees to the right",
                  "{gait} around a corner to the right", "{gait} with a sharp right turn",
                  "{gait} and *make a right turn", "{gait} and *take a right"),
    "wide_l": ("{gait} and *turn sharply to the left", "{gait} with a wide turn to the left",
               "{gait} and *turn far to the left", "{gait} and *swing around to the left"),
    "wide_r": ("{gait} and *turn sharply to the right", "{gait} with a wide turn to the right",
               "{gait} and *turn far to the right", "{gait} and *swing around to the right"),
    "back_l": ("{gait}, *turn around to the left and *come back", "{gait}, *make a u-turn to the left and *return",
               "{gait} and *turn around over the left side", "{gait}, *turn back and *return"),
    "back_r": ("{gait}, *turn around to the right and *come back", "{gait}, *make a u-turn to the right and *return",
               "{gait} and *turn around over the right side", "{gait}, *turn back and *return"),
    "turn_slight_l": ("*turn slightly to the left", "*turn a little to the left", "*twist the body to the left"),
    "turn_slight_r": ("*turn slightly to the right", "*turn a little to the right", "*twist the body to the right"),
    "turn_quarter_l": ("*turn left", "*turn to the left", "*make a quarter turn to the left",
                       "*turn 90 degrees to the left", "*turn left on the spot"),
    "turn_quarter_r": ("*turn right", "*turn to the right", "*make a quarter turn to the right",
                       "*turn 90 degrees to the right", "*turn right on the spot"),
    "turn_back_l": ("*turn around to the left", "*turn around", "*make a half turn to the left",
                    "*turn 180 degrees to the left", "*turn to face the other way"),
    "turn_back_r": ("*turn around to the right", "*turn around", "*make a half turn to the right",
                    "*turn 180 degrees to the right", "*turn to face the other way"),
    "spin_l": ("*spin around to the left", "*turn a full circle to the left", "*spin left", "*twirl around to the left",
               "*make a full turn counterclockwise"),
    "spin_r": ("*spin around to the right", "*turn a full circle to the right", "*spin right",
               "*twirl around to the right", "*make a full turn clockwise"),
    "still": ("*stand still", "*stand in place", "*stay where they are", "*stand without moving", "*remain standing",
              "*stand calmly", "*stand quietly on the spot", "*wait in place"),
    "stand": ("*stand", "*stand in place", "*stay in place", "*stand on the spot", "*remain in one place"),
    "gesture": ("*stand and *move the arms", "*stand in place, moving both hands",
                "*gesture with the hands while standing",
                "*stay on the spot and *move the arms around", "*move the arms while standing in place"),
    "gesture_left": ("*stand and *move the left arm", "*gesture with the left hand",
                     "*move the left hand while standing"),
    "gesture_right": ("*stand and *move the right arm", "*gesture with the right hand",
                      "*move the right hand while standing"),
    "lively": ("*move the whole body energetically", "*move arms and legs in a lively way",
               "*step around with lively arms and legs", "energetically *move around on the spot"),
    "steps": ("*take small steps around the spot", "*shift about with small steps", "*step around in place",
              "*make a few small steps"),
    "jump": ("*jump", "*jump up", "*leap up", "*leap into the air", "*spring up", "*jump off the ground",
             "*do a jump", "*make a jump"),
    "jump_high": ("*jump high", "*jump high into the air", "*leap up high", "*make a high jump", "*spring far up"),
    "jump_forward": ("*jump forward", "*leap forward", "*make a leap ahead", "*jump ahead", "*take a long jump forward",
                     "*spring forward", "*bound ahead"),
    "jumps": ("*jump several times", "*jump again and again", "*jump up and down", "*leap up repeatedly",
              "*keep jumping", "*make several jumps"),
    "hop": ("*hop", "*do a small hop", "*make a little jump", "*hop off the ground", "*bounce up once"),
    "hops": ("*hop several times", "*hop along", "*bounce up and down", "*make several small hops", "*hop repeatedly"),
    "skips": ("*hop forward again and again", "*move forward with springy hops", "*bounce ahead with hopping steps",
              "*skip ahead"),
    "kick_left": ("*kick with the left foot", "*kick with the left leg", "*do a left kick",
                  "*give a kick with the left leg",
                  "*kick out with the left foot", "*throw a kick with the left leg"),
    "kick_right": ("*kick with the right foot", "*kick with the right leg", "*do a right kick",
                   "*give a kick with the right leg", "*kick out with the right foot",
                   "*throw a kick with the right leg"),
    "kick_high_left": ("*kick high with the left leg", "*do a high kick with the left foot",
                       "*swing the left leg up high", "*throw a high left kick"),
    "kick_high_right": ("*kick high with the right leg", "*do a high kick with the right foot",
                        "*swing the right leg up high", "*throw a high right kick"),
    "kicks": ("*kick with both legs in turn", "*do several kicks", "*kick left and right", "*throw a series of kicks"),
    "leg_left": ("*lift the left leg", "*raise the left leg", "*raise the left foot off the floor",
                 "*bring the left knee up"),
    "leg_right": ("*lift the right leg", "*raise the right leg", "*raise the right foot off the floor",
                  "*bring the right knee up"),
    "balance_left": ("*stand on the left leg", "*balance on the left leg",
                     "*stand on one leg with the right leg raised"),
    "balance_right": ("*stand on the right leg", "*balance on the right leg",
                      "*stand on one leg with the left leg raised"),
    "punch_left": ("*punch with the left hand", "*throw a left punch", "*strike forward with the left fist",
                   "*punch with the left arm", "*hit forward with the left hand"),
    "punch_right": ("*punch with the right hand", "*throw a right punch", "*strike forward with the right fist",
                    "*punch with the right arm", "*hit forward with the right hand"),
    "punches": ("*throw several punches", "*punch with both hands", "*punch again and again", "*box with both fists",
                "*strike forward with both hands in turn"),
    "arm_left": ("*raise the left arm", "*lift the left arm up", "*put the left hand up", "*hold the left arm up",
                 "*raise the left hand above the shoulder"),
    "arm_right": ("*raise the right arm", "*lift the right arm up", "*put the right hand up", "*hold the right arm up",
                  "*raise the right hand above the shoulder"),
    "arms": ("*raise both arms", "*lift both arms up", "*put both hands up", "*hold both arms up",
             "*raise both hands into the air", "*lift the arms above the shoulders"),
    "arms_repeat": ("*raise both arms again and again", "*swing both arms up and down", "*lift both arms repeatedly"),
    "jacks": ("*do jumping jacks", "*do star jumps", "*perform jumping jacks",
              "*jump the feet apart while swinging the arms up"),
    "wave_left": ("*wave with the left hand", "*wave the left arm", "*wave the raised left hand"),
    "wave_right": ("*wave with the right hand", "*wave the right arm", "*wave the raised right hand"),
    "arms_out": ("*hold both arms out to the sides", "*stretch the arms out sideways", "*spread both arms",
                 "*extend the arms to both sides"),
    "crouch": ("*crouch down", "*crouch", "*squat down", "*squat", "*get down low", "*bend the knees and *go down",
               "*lower the body", "*duck down low"),
    "crouched": ("*stay crouched", "*stay down low", "*remain in a crouch", "*hold a low position with bent knees"),
    "crouch_walk": ("*move along in a crouch", "*walk with bent knees, staying low", "*creep along crouched"),
    "sit": ("*sit", "*sit down", "*take a seat", "*be seated"),
    "rise": ("*stand up", "*get up", "*rise", "*stand up straight again", "*come back up"),
    "squats": ("*do squats", "*squat up and down several times", "*bend the knees and *come up again several times"),
    "reach_down": ("*bend down and *reach to the floor", "*reach down with the hands",
                   "*bend down as if to pick something up", "*reach for something low",
                   "*lower the hands to the floor"),
    "bend": ("*bend forward", "*bend over", "*lean far forward", "*bow forward", "*bend down from the waist"),
    "bend_back": ("*lean back", "*bend backwards", "*arch the back"),
    "crawl_f": ("*crawl forward", "*crawl ahead on hands and knees", "*crawl along the floor", "*crawl",
                "*move forward on all fours", "*creep forward on hands and knees"),
    "crawl_b": ("*crawl backwards", "*crawl back on hands and knees", "*move backwards on all fours",
                "*creep backwards on hands and knees"),
    "all_fours": ("*be on hands and knees", "*stay on all fours", "*kneel on the floor with the hands down"),
    "lie": ("*lie on the floor", "*lie flat on the floor", "*lie on the ground", "*be stretched out on the floor"),
    "lie_down": ("*lie down on the floor", "*get down and *lie on the ground", "*lower down to lie on the floor"),
    "cartwheel": ("*do a cartwheel", "*turn a cartwheel", "*perform a cartwheel",
                  "*go over on the hands with the feet up",
                  "*flip over on the hands"),
    "roll": ("*roll over on the floor", "*do a roll", "*tumble over the floor", "*roll over the ground"),
    "climb": ("*climb up", "*climb up off the ground", "*climb onto something higher", "*go up higher"),
    "step_up": ("*step up onto something", "*climb a step", "*step up higher", "*walk up"),
}  # fmt: skip

#: The same in the few words that people use first, by the beginning of the kind (the longest that fits); a kind that is
#: not here is said by the first two of its ``PHRASES``.
PLAIN: dict[str, tuple[str, ...]] = {
    "walk_f": ("*walk", "*walk forward"), "jog_f": ("*jog", "*run"), "run_f": ("*run", "*run forward"),
    "sprint_f": ("*run", "*sprint"), "circle": ("{gait} in a circle", "{gait} around in a circle", "{gait} in circles"),
    "quarter_l": ("{gait} and *turn left", "{gait} forward and *turn left"),
    "quarter_r": ("{gait} and *turn right", "{gait} forward and *turn right"),
    "back": ("{gait} away, *turn around and *come back", "{gait} forward, *turn around and {gait} back",
             "{gait} and *turn around", "{gait} there and back"),
    "turn_quarter_l": ("*turn left",), "turn_quarter_r": ("*turn right",), "turn_back": ("*turn around",),
    "spin": ("*spin around", "*spin", "*twirl around", "*turn a full circle"),
    "still": ("*stand still", "*stand"), "stop": ("*stop", "*stand still", "*stop and *stand still"),
    "off_walk": ("*start walking", "*walk"), "off_run": ("*start running", "*run"),
    "into_walk": ("*slow down to a walk", "*walk", "*slow down and *walk"), "into_jog": ("*start to jog", "*run"),
    "into_run": ("*start to run", "*run", "*begin to run"),
    "jumps": ("*jump up and down", "*jump several times"), "crouch": ("*crouch down", "*crouch", "*squat down"),
    "sit": ("*sit down", "*sit"), "rise": ("*stand up", "*get up"), "bend": ("*bend over", "*bend down"),
    "bend_back": ("*lean back",), "crouched": ("*stay crouched",), "crouch_walk": ("*walk in a crouch",),
    "jump": ("*jump", "*jump up"), "jump_forward": ("*jump forward",), "leg_": ("*lift a leg",),
    "lie": ("*lie on the floor",), "lie_down": ("*lie down on the floor", "*lie down"),
}  # fmt: skip
#: Of hands that reach the floor and come up again.
PICKED = ("*pick something up", "*bend down and *pick something up", "*pick something up from the floor")

#: What follows a verb that is done more than once.
COUNTED = {"twice": " twice", "thrice": " three times", "many": " several times"}
#: The verb that stands for ``{gait}``.
GAITS = {"walk": "*walk", "jog": "*jog", "run": "*run"}
_DOUBLED = {
    "begin", "flip", "get", "hit", "hop", "jog", "put", "run", "set", "sit", "skip", "spin", "squat", "step", "stop",
    "swim", "trot",
}  # fmt: skip
_THIRD = {"be": "is", "do": "does", "go": "goes", "have": "has"}


def conjugate(verb: str, form: str) -> str:
    """A verb in the form that a sentence asks for.

    Args:
        verb: the infinitive.
        form: ``"third"`` (walks) or ``"gerund"`` (walking).

    >>> conjugate("carry", "third"), conjugate("run", "gerund"), conjugate("lie", "gerund")
    ('carries', 'running', 'lying')
    """
    if form == "third":
        if verb in _THIRD:
            return _THIRD[verb]
        if verb.endswith(("s", "sh", "ch", "x", "z")):
            return verb + "es"
        return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "s"
    if verb == "lie":
        return "lying"
    if verb == "be":
        return "being"
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return verb[:-1] + "ing" if verb.endswith("e") and not verb.endswith("ee") else verb + "ing"
